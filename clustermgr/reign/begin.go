package reign

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/accord"
	"github.com/pinetree-db/pinetree/clustermgr/chronicle"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/members"
	"github.com/pinetree-db/pinetree/clustermgr/orders"
	"github.com/pinetree-db/pinetree/clustermgr/owner"
	"github.com/pinetree-db/pinetree/clustermgr/ward"
)

// Begin reads everything that is recorded and begins the reign of an office
// that was just won; an *accord.RefusedError when this manager may not hold it. The
// reign ends with ctx; nothing happens in it before Run.
func Begin(ctx context.Context, cfg Config, office ledger.Office) (*Reign, error) {
	taken := cfg.Clock()
	reading, cancel := context.WithTimeout(ctx, 10*cfg.OfficeClaim)
	defer cancel()
	entries, err := cfg.Store.Read(reading, "")
	if err != nil {
		return nil, err
	}
	b, err := ledger.Open(entries)
	if err != nil {
		return nil, err
	}
	agreed, err := accord.Take(reading, cfg, office, b.Settings, taken)
	if err != nil {
		return nil, err
	}
	if b.Cluster.Is.ID == "" {
		b.Cluster.Is.ID = rand.Text()
		b.Cluster.Revision, err = cfg.Store.Swap(reading, office, []ledger.Change{b.Cluster.Put(ledger.ClusterKey, b.Cluster.Is)})
		if err != nil {
			return nil, err
		}
	}
	o := owner.New(ctx, cfg, office, b.Events)
	r := &Reign{
		Chronicle: chronicle.Of(o),
		cfg:       cfg, log: cfg.Log, ctx: o.Context(), owner: o,
		dial:    orders.New(orders.Timeouts{Probe: cfg.Probe, Call: cfg.Call, Appoint: cfg.Appoint}, cfg.Dial...),
		since:   agreed.Since,
		cluster: b.Cluster, counters: b.Counters,
		nodes: map[pinetree.NodeID]*node{}, groups: map[pinetree.GroupID]*group{}, deleted: map[pinetree.GroupID]*group{}, losses: members.Losses{},
		volumes: map[pinetree.VolumeID]*ledger.Kept[ledger.Volume]{}, names: map[string]pinetree.VolumeID{},
		led: map[pinetree.NodeID]int{}, addresses: 1,
	}
	r.hands = r.newHands()
	r.ward = ward.New(cfg, o, func(yield func(*ward.Node) bool) {
		for _, n := range r.nodes {
			if !yield(&n.Node) {
				return
			}
		}
	})
	for _, k := range b.Nodes {
		n := &node{Node: ward.Node{Kept: k}}
		n.Vitals.Hear(cfg.Clock()) // reading may have taken long, and nobody was listened to
		r.nodes[k.Is.ID] = n
	}
	for _, k := range b.Groups {
		r.addGroup(k)
	}
	for _, k := range b.Volumes {
		r.addVolume(k)
	}
	r.event(ledger.Event{Kind: "manager_active", Cause: "elected as " + office.Name, Outcome: fmt.Sprintf(
		"at %s for cluster %s with %d nodes, %d groups, %d volumes", cfg.Address, r.cluster.Is.ID, len(r.nodes), len(r.groups), len(r.volumes))})
	if agreed.Changed != "" {
		r.event(ledger.Event{Kind: "settings_changed", Cause: "this manager was started with --new-settings", Outcome: agreed.Changed})
	}
	r.spawn(func() { agreed.Settle(r.ctx, r.persist) })
	return r, nil
}
