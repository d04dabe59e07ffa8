package reign

import (
	"context"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// DeleteGroup records that a group is no more, and lets its replicas be removed.
func (r *Reign) DeleteGroup(ctx context.Context, q *wirepb.DeleteGroupRequest) (*wirepb.DeleteGroupResponse, error) {
	id := pinetree.GroupID(q.GetGroup())
	return &wirepb.DeleteGroupResponse{}, r.deleteGroup(ctx, func() (*group, *ledger.Kept[ledger.Volume], error) {
		g := r.groups[id]
		if g == nil {
			return nil, nil, refuse(pinetree.ErrUnknownGroup, "there is no group %d", id)
		}
		if in := r.volumesOf(id); len(in) > 0 {
			return nil, nil, notYet("group %d has %d volumes, %s among them; delete them first", id, len(in), in[0].Is.Name)
		}
		return g, nil, nil
	})
}

// DeleteVolume records that a volume and the group that it has for itself are no
// more, and lets the replicas be removed. From then on the name is free.
func (r *Reign) DeleteVolume(ctx context.Context, q *wirepb.DeleteVolumeRequest) (*wirepb.DeleteVolumeResponse, error) {
	answer := &wirepb.DeleteVolumeResponse{}
	return answer, r.deleteGroup(ctx, func() (*group, *ledger.Kept[ledger.Volume], error) {
		v := r.volumes[r.names[q.GetName()]]
		if v == nil {
			return nil, nil, refuse(pinetree.ErrUnknownVolume, "there is no volume %s", q.GetName())
		}
		answer.Volume, answer.Group = uint64(v.Is.ID), uint64(v.Is.Group)
		if n := len(r.volumesOf(v.Is.Group)); n > 1 {
			return nil, nil, notYet("volume %s shares group %d with %d others, and only a whole group can be deleted; volumes that have a group of their own can be deleted alone",
				v.Is.Name, v.Is.Group, n-1)
		}
		return r.groups[v.Is.Group], v, nil
	})
}

// deleteGroup records the end of what find finds in the owner's goroutine: a
// group and, unless it is nil, the volume in it.
func (r *Reign) deleteGroup(ctx context.Context, find func() (*group, *ledger.Kept[ledger.Volume], error)) error {
	var g *group
	var v *ledger.Kept[ledger.Volume]
	var next ledger.Group
	return r.persist(ctx, func() (_ []ledger.Change, err error) {
		if g, v, err = find(); err != nil {
			return nil, err
		}
		next = g.Is.Ended()
		// Whoever makes a volume changes the counters: none is made in the group at
		// the same time.
		changes := []ledger.Change{g.Put(next.Key(), next), r.counters.Put(ledger.CountersKey, r.counters.Is)}
		if v != nil {
			changes = append(changes, ledger.Change{Key: v.Is.Key(), Expect: v.Revision})
		}
		return changes, nil
	}, func(revision int64) {
		e := ledger.Event{Kind: "group_deleted", Group: g.id, Cause: "an operator's order", Outcome: fmt.Sprintf("nodes %v are to remove their replicas", g.Is.Members())}
		if v != nil {
			e.Outcome = fmt.Sprintf("volume %d, %s, goes with it; %s", v.Is.ID, v.Is.Name, e.Outcome)
			delete(r.volumes, v.Is.ID)
			delete(r.names, v.Is.Name)
		}
		g.Is, g.Revision, r.counters.Revision = next, revision, revision
		g.pending = nil
		delete(r.groups, g.id)
		r.deleted[g.id] = g
		r.event(e)
		r.lookAtReplicas(g, r.cfg.Clock())
	})
}

// volumesOf lists the volumes of a group.
func (r *Reign) volumesOf(id pinetree.GroupID) []*ledger.Kept[ledger.Volume] {
	var list []*ledger.Kept[ledger.Volume]
	for _, v := range r.volumes {
		if v.Is.Group == id {
			list = append(list, v)
		}
	}
	return list
}
