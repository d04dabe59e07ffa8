package members

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/orders"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/clustermgr/refusal"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// NewGroup is a group with so many replicas, zero for three, on some of the sites.
func NewGroup(id pinetree.GroupID, sites []policy.Site, replicas uint32, home string) (ledger.Group, error) {
	if replicas == 0 {
		replicas = 3
	}
	voters, err := policy.Place(sites, int(min(replicas, 1000)), home)
	switch {
	case errors.Is(err, policy.ErrTooFewNodes):
		err = refusal.NotYet("%v", err)
	case errors.Is(err, policy.ErrReplicas):
		err = refusal.As(pinetree.ErrBadBatch, "%v", err)
	}
	return ledger.Group{ID: id, Voters: voters, HomeZone: home}, err
}

// Placed tells that a new group was recorded.
func Placed(g ledger.Group) ledger.Event {
	return ledger.Event{Kind: "group_placed", Group: g.ID, Cause: "created", Outcome: fmt.Sprintf("voters %v", g.Voters)}
}

// VolumeEvent tells what became of a volume, and why.
func VolumeEvent(kind, cause string, v ledger.Volume) ledger.Event {
	return ledger.Event{Kind: kind, Group: v.Group, Cause: cause, Outcome: fmt.Sprintf("volume %d, %s", v.ID, v.Name)}
}

// Maker is a node that is to make its replica of a new group.
type Maker struct {
	orders.Target
	Health policy.Health
}

// MakeReplicas has those that live make their replicas of a new group, side by
// side, and records when all have. What was made before is no error at the node, so
// it may be begun anew. Made is called where the records belong.
func (h *Hands) MakeReplicas(ctx context.Context, k *Group, record ledger.Group, missing []Maker, made func(pinetree.NodeID)) error {
	var all sync.WaitGroup
	failures := make([]error, len(missing))
	for i, m := range missing {
		if m.Health != policy.Alive {
			failures[i] = fmt.Errorf("node %d, which is to have a replica, is %s", m.Node, m.Health)
			continue
		}
		all.Go(func() {
			if failures[i] = h.Dial.CreateReplica(ctx, m.Target, record.ID, record.Voters); failures[i] == nil {
				h.Tell(func() { made(m.Node) })
			}
		})
	}
	all.Wait()
	if err := cmp.Or(failures...); err != nil {
		return err
	}
	return h.record(ctx, k, func(g ledger.Group) (ledger.Group, error) {
		g.Created = true
		return g, nil
	}, func(ledger.Group) ledger.Event {
		return ledger.Event{Kind: "group_created", Cause: "every voter has its replica"}
	})
}

// MakeVolume has the leader of a group add a volume to it, and records that. Find
// finds the volume where the records belong; nil when it was deleted meanwhile.
func (h *Hands) MakeVolume(ctx context.Context, leader orders.Target, v ledger.Volume, find func() *ledger.Kept[ledger.Volume], then func()) error {
	err := h.Dial.CreateVolume(ctx, leader, &wirepb.NodeCreateVolumeRequest{
		Group: uint64(v.Group), Volume: uint64(v.ID), Format: uint32(v.Format),
	})
	if err != nil {
		return err
	}
	v.Ready = true
	var k *ledger.Kept[ledger.Volume]
	return h.Persist(ctx, func() (d ledger.Decision, _ error) {
		if k = find(); k == nil {
			return d, nil
		}
		return ledger.Decide(VolumeEvent("volume_created", "the group has it", v), k.Put(v.Key(), v)), nil
	}, func(revision int64) {
		k.Is, k.Revision = v, revision
		then()
	})
}
