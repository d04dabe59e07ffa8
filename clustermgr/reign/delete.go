package reign

import (
	"context"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/members"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// DeleteGroup records that a group is no more, and lets its replicas be removed.
func (r *Reign) DeleteGroup(ctx context.Context, q *wirepb.DeleteGroupRequest) (*wirepb.DeleteGroupResponse, error) {
	id := pinetree.GroupID(q.GetGroup())
	return &wirepb.DeleteGroupResponse{}, r.deleteGroup(ctx, func() (e members.Ending, _ error) {
		g := r.groups[id]
		if g == nil {
			return e, refuse(pinetree.ErrUnknownGroup, "there is no group %d", id)
		}
		if in := r.volumesOf(id); len(in) > 0 {
			return e, notYet("group %d has %d volumes, %s among them; delete them first", id, len(in), in[0].Is.Name)
		}
		return members.Ending{Group: &g.Kept}, nil
	})
}

// DeleteVolume records that a volume and the group that it has for itself are no
// more, and lets the replicas be removed. From then on the name is free.
func (r *Reign) DeleteVolume(ctx context.Context, q *wirepb.DeleteVolumeRequest) (*wirepb.DeleteVolumeResponse, error) {
	answer := &wirepb.DeleteVolumeResponse{}
	return answer, r.deleteGroup(ctx, func() (e members.Ending, _ error) {
		v := r.volumes[r.names[q.GetName()]]
		if v == nil {
			return e, refuse(pinetree.ErrUnknownVolume, "there is no volume %s", q.GetName())
		}
		answer.Volume, answer.Group = uint64(v.Is.ID), uint64(v.Is.Group)
		if n := len(r.volumesOf(v.Is.Group)); n > 1 {
			return e, notYet("volume %s shares group %d with %d others, and only a whole group can be deleted; volumes that have a group of their own can be deleted alone",
				v.Is.Name, v.Is.Group, n-1)
		}
		return members.Ending{Group: &r.groups[v.Is.Group].Kept, Volume: v}, nil
	})
}

// deleteGroup records the end of what find finds in the owner's goroutine.
func (r *Reign) deleteGroup(ctx context.Context, find func() (members.Ending, error)) error {
	return r.hands.End(ctx, &r.counters, find, func(e members.Ending) {
		if v := e.Volume; v != nil {
			delete(r.volumes, v.Is.ID)
			delete(r.names, v.Is.Name)
		}
		g := r.groups[e.Group.Is.ID]
		g.pending = nil
		delete(r.groups, g.id)
		r.deleted[g.id] = g
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
