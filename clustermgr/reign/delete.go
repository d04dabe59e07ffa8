package reign

import (
	"context"
	"errors"

	"github.com/pinetree-db/pinetree"
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
		if in := members.VolumesOf(id, r.volumes); len(in) > 0 {
			return e, notYet("group %d has %d volumes, %s among them; delete them first, and wait until they are gone", id, len(in), in[0].Is.Name)
		}
		return members.Ending{Group: &g.Kept}, nil
	})
}

// DeleteVolume records that a volume is no more, with the group that it has for
// itself, and lets the replicas be removed, or their part of it. From then on the name
// is free.
func (r *Reign) DeleteVolume(ctx context.Context, q *wirepb.DeleteVolumeRequest) (*wirepb.DeleteVolumeResponse, error) {
	answer := &wirepb.DeleteVolumeResponse{}
	err := r.deleteGroup(ctx, func() (e members.Ending, _ error) {
		v := r.volumes[r.names[q.GetName()]]
		if v == nil {
			return e, refuse(pinetree.ErrUnknownVolume, "there is no volume %s", q.GetName())
		}
		answer.Volume, answer.Group = uint64(v.Is.ID), uint64(v.Is.Group)
		if len(members.VolumesOf(v.Is.Group, r.volumes)) > 1 {
			return e, errShared
		}
		return members.Ending{Group: &r.groups[v.Is.Group].Kept, Volume: v}, nil
	})
	if !errors.Is(err, errShared) {
		return answer, err
	}
	answer.Group = 0 // it stays
	return answer, r.hands.DeleteVolume(ctx, func() (*members.Volume, error) {
		v := r.volumes[pinetree.VolumeID(answer.GetVolume())]
		switch {
		case v == nil || v.Is.Deleted:
			return nil, refuse(pinetree.ErrUnknownVolume, "there is no volume %s", q.GetName())
		case !v.Is.Ready:
			return nil, notYet("volume %s is still being made; delete it when it is", q.GetName())
		}
		return v, nil
	}, func(v *members.Volume) {
		delete(r.names, v.Is.Name)
		g := r.groups[v.Is.Group]
		g.pending[v.Is.ID] = true
		r.lookAt(g, r.cfg.Clock())
	})
}

// errShared tells that the group of a volume that is to be deleted stays.
var errShared = errors.New("other volumes share the group")

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
