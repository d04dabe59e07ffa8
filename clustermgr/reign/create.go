package reign

import (
	"context"
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/members"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Register makes a node known. The same directory always gets the same id.
func (r *Reign) Register(ctx context.Context, q *wirepb.RegisterRequest) (*wirepb.RegisterResponse, error) {
	n, err := r.hands.Register(ctx, q, &r.counters, func() (*members.Node, error) { return r.registered(q) }, func(k members.Node) {
		if r.nodes[k.Is.ID] == nil {
			r.nodes[k.Is.ID] = &node{}
		}
		r.nodes[k.Is.ID].Kept = k
		r.addresses++
	})
	if err != nil {
		return nil, err
	}
	return list(ctx, r, func() (*wirepb.RegisterResponse, error) {
		known := r.nodes[n.ID]
		if known == nil { // it was to leave, and was forgotten meanwhile
			return nil, members.Unknown(n.ID, r.counters.Is.Node)
		}
		known.Vitals.Hear(r.cfg.Clock())
		r.dial.Fresh(n.Address)
		return &wirepb.RegisterResponse{
			Cluster: r.cluster.Is.ID, Node: uint64(n.ID), HeartbeatIntervalMs: uint32(r.cfg.Heartbeat.Milliseconds()),
		}, nil
	})
}

// registered finds the node that registers, nil for a new one, or refuses it.
func (r *Reign) registered(q *wirepb.RegisterRequest) (*members.Node, error) {
	if q.GetCluster() != "" && q.GetCluster() != r.cluster.Is.ID {
		return nil, refuse(pinetree.ErrBadBatch, "the directory belongs to cluster %s, and this is cluster %s", q.GetCluster(), r.cluster.Is.ID)
	}
	if q.GetNode() != 0 {
		n, err := r.identify(pinetree.NodeID(q.GetNode()), q.GetInstance())
		if err != nil {
			return nil, err
		}
		return &n.Kept, nil
	}
	for _, n := range r.nodes { // the answer to an earlier request was lost
		if n.Is.Instance == q.GetInstance() {
			return &n.Kept, nil
		}
	}
	return nil, nil
}

// newGroup prepares a group on live nodes over zones.
func (r *Reign) newGroup(replicas uint32, home string) (ledger.Group, error) {
	var sites []policy.Site
	count := map[pinetree.NodeID]int{}
	for _, g := range r.groups {
		for _, id := range g.Is.Members() {
			count[id]++
		}
	}
	for _, n := range r.nodes {
		if r.health(n) == policy.Alive && !n.Is.Leaving {
			sites = append(sites, policy.Site{Node: n.Is.ID, Zone: n.Is.Zone, Replicas: count[n.Is.ID], Shunned: n.Is.Unwanted(time.Now()) != "" || n.Full() != ""})
		}
	}
	return members.NewGroup(r.counters.Is.Group+1, sites, replicas, home)
}

// acquainted waits until each node was heard of in this reign, or is dead: one that
// died shortly before it began is no place for a replica.
func (r *Reign) acquainted(ctx context.Context) error {
	err := r.await(ctx, func() (bool, error) {
		for _, n := range r.nodes {
			if n.reported == 0 && r.health(n) != policy.Dead {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil && ctx.Err() == nil {
		return NotActive("") // nothing has begun
	}
	return err
}

// addGroup takes a group into the reign, from the store or just made.
func (r *Reign) addGroup(k ledger.Kept[ledger.Group]) *group {
	g := &group{
		id: k.Is.ID, Kept: k, granter: lease.NewGranter(r.cfg.Lease, k.Is.Lease, r.since),
		placed: map[pinetree.NodeID]bool{}, pending: map[pinetree.VolumeID]bool{},
	}
	if g.Is.Deleted {
		r.deleted[g.id] = g
	} else {
		r.groups[g.id] = g
	}
	return g
}

// CreateGroup records a group and waits until it has an activated leader. What
// is recorded is made even when the caller does not wait.
func (r *Reign) CreateGroup(ctx context.Context, q *wirepb.CreateGroupRequest) (*wirepb.GroupInfo, error) {
	if err := r.acquainted(ctx); err != nil {
		return nil, err
	}
	var record ledger.Group
	err := r.persist(ctx, func() (d ledger.Decision, err error) {
		if record, err = r.newGroup(q.GetReplicas(), q.GetHomeZone()); err != nil {
			return d, err
		}
		c := r.counters.Is
		c.Group = record.ID
		return ledger.Decide(members.Placed(record), r.counters.Put(ledger.CountersKey, c), ledger.Kept[ledger.Group]{}.Put(record.Key(), record)), nil
	}, func(revision int64) { r.groupMade(record, revision) })
	if err != nil {
		return nil, err
	}
	var info *wirepb.GroupInfo
	var why string
	err = r.await(ctx, func() (bool, error) {
		g := r.groups[record.ID]
		if g == nil {
			return true, refuse(pinetree.ErrUnknownGroup, "group %d was deleted before it was made", record.ID)
		}
		info, why = r.groupInfo(g), r.why(g)
		return info.GetLeader() != 0 && g.Is.Lease.Activated() && g.Is.Created, nil
	})
	if ctx.Err() != nil && err != nil {
		return nil, fmt.Errorf("group %d is recorded and will be made: %s: %w", record.ID, why, err)
	}
	return info, err
}

func (r *Reign) groupMade(record ledger.Group, revision int64) {
	r.counters.Is.Group, r.counters.Revision = record.ID, revision
	g := r.addGroup(ledger.Kept[ledger.Group]{Is: record, Revision: revision})
	r.lookAt(g, r.cfg.Clock())
}

// CreateVolume records a volume and waits until its group has it. It is
// idempotent by name.
func (r *Reign) CreateVolume(ctx context.Context, q *wirepb.CreateVolumeRequest) (*wirepb.VolumeInfo, error) {
	if err := members.CheckVolume(q); err != nil {
		return nil, err
	}
	if err := r.acquainted(ctx); err != nil {
		return nil, err
	}
	var volume ledger.Volume
	var own *ledger.Group
	prepare := func() (d ledger.Decision, _ error) {
		own = nil
		if known := r.volumes[r.names[q.GetName()]]; known != nil {
			volume = known.Is
			return d, members.SameVolume(known.Is, q)
		}
		c := r.counters.Is
		c.Volume++
		volume = ledger.Volume{ID: c.Volume, Name: q.GetName(), Group: pinetree.GroupID(q.GetGroup()), Format: pinetree.Format(q.GetFormat())}
		if volume.Group == 0 {
			record, err := r.newGroup(q.GetReplicas(), "")
			if err != nil {
				return d, err
			}
			own, volume.Group, c.Group = &record, record.ID, record.ID
			d = ledger.Decide(members.Placed(record), ledger.Kept[ledger.Group]{}.Put(record.Key(), record))
		} else if r.groups[volume.Group] == nil {
			return d, refuse(pinetree.ErrUnknownGroup, "there is no group %d to put volume %s into", volume.Group, volume.Name)
		}
		d.Changes = append(d.Changes, r.counters.Put(ledger.CountersKey, c), ledger.Kept[ledger.Volume]{}.Put(volume.Key(), volume))
		d.Events = append(d.Events, members.VolumeEvent("volume_placed", "created", volume))
		return d, nil
	}
	commit := func(revision int64) {
		if own != nil {
			r.groupMade(*own, revision)
		}
		r.counters.Is.Volume, r.counters.Revision = volume.ID, revision
		r.addVolume(ledger.Kept[ledger.Volume]{Is: volume, Revision: revision})
		r.lookAt(r.groups[volume.Group], r.cfg.Clock())
	}
	if err := r.persist(ctx, prepare, commit); err != nil {
		return nil, err
	}
	return r.volumeReady(ctx, volume)
}

func (r *Reign) volumeReady(ctx context.Context, volume ledger.Volume) (*wirepb.VolumeInfo, error) {
	var info *wirepb.VolumeInfo
	var why string
	err := r.await(ctx, func() (bool, error) {
		k := r.volumes[volume.ID]
		if k == nil || k.Is.Deleted {
			return true, refuse(pinetree.ErrUnknownVolume, "volume %s was deleted before it was made", volume.Name)
		}
		info, why = r.volumeInfo(k.Is), r.why(r.groups[volume.Group])
		return k.Is.Ready, nil
	})
	if ctx.Err() != nil && err != nil {
		return nil, fmt.Errorf("volume %s is recorded as %d and will be made in group %d: %s: %w", volume.Name, volume.ID, volume.Group, why, err)
	}
	return info, err
}

func (r *Reign) addVolume(k ledger.Kept[ledger.Volume]) {
	r.volumes[k.Is.ID] = &k
	if !k.Is.Deleted {
		r.names[k.Is.Name] = k.Is.ID
	}
	if g := r.groups[k.Is.Group]; g != nil && (!k.Is.Ready || k.Is.Deleted) {
		g.pending[k.Is.ID] = true
	}
}
