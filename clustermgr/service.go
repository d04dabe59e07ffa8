package clustermgr

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// service answers RPCs from the reign, or names the active manager.
type service struct {
	wirepb.UnimplementedManagerServer
	manager *Manager
}

// inReign calls a function of the reign that waits for others by itself.
func inReign[Q, A any](ctx context.Context, m *Manager, q Q, call func(*reign, context.Context, Q) (A, error)) (A, error) {
	r, err := m.current(ctx)
	if err != nil {
		var none A
		return none, err
	}
	return call(r, ctx, q)
}

// list makes an answer in the owner's goroutine.
func list[A any](ctx context.Context, m *Manager, build func(*reign) (*A, error)) (answer *A, err error) {
	r, err := m.current(ctx)
	if err != nil {
		return nil, err
	}
	if e := r.do(ctx, func() { answer, err = build(r) }); e != nil {
		return nil, e
	}
	return answer, err
}

// Register implements wirepb.ManagerServer.
func (s *service) Register(ctx context.Context, q *wirepb.RegisterRequest) (*wirepb.RegisterResponse, error) {
	return inReign(ctx, s.manager, q, (*reign).register)
}

// Heartbeat implements wirepb.ManagerServer.
func (s *service) Heartbeat(stream grpc.BidiStreamingServer[wirepb.HeartbeatRequest, wirepb.HeartbeatResponse]) error {
	r, err := s.manager.current(stream.Context())
	if err != nil {
		return err
	}
	return r.heartbeats(stream, s.manager.receivers.Go)
}

// CreateGroup implements wirepb.ManagerServer.
func (s *service) CreateGroup(ctx context.Context, q *wirepb.CreateGroupRequest) (*wirepb.GroupInfo, error) {
	return inReign(ctx, s.manager, q, (*reign).createGroup)
}

// CreateVolume implements wirepb.ManagerServer.
func (s *service) CreateVolume(ctx context.Context, q *wirepb.CreateVolumeRequest) (*wirepb.VolumeInfo, error) {
	return inReign(ctx, s.manager, q, (*reign).createVolume)
}

// MoveLeader implements wirepb.ManagerServer.
func (s *service) MoveLeader(ctx context.Context, q *wirepb.MoveLeaderRequest) (*wirepb.MoveLeaderResponse, error) {
	return inReign(ctx, s.manager, q, (*reign).moveLeader)
}

// ListNodes implements wirepb.ManagerServer.
func (s *service) ListNodes(ctx context.Context, _ *wirepb.ListNodesRequest) (*wirepb.ListNodesResponse, error) {
	return list(ctx, s.manager, func(r *reign) (*wirepb.ListNodesResponse, error) {
		answer := &wirepb.ListNodesResponse{}
		for _, n := range r.sortedNodes() {
			answer.Nodes = append(answer.Nodes, r.nodeInfo(n))
		}
		return answer, nil
	})
}

func (r *reign) nodeInfo(n *node) *wirepb.NodeInfo {
	info := &wirepb.NodeInfo{
		Node: uint64(n.Is.ID), Address: n.Is.Address, Zone: n.Is.Zone, State: r.health(n).String(),
		SilentMs: uint32(n.vitals.Silence(r.cfg.Clock()).Milliseconds()),
	}
	for _, g := range r.groups {
		if slices.Contains(g.Is.Members(), n.Is.ID) {
			info.Replicas++
		}
		if r.leader(g) == n {
			info.Leaders++
		}
	}
	return info
}

// ChangeReplicas implements wirepb.ManagerServer.
func (s *service) ChangeReplicas(ctx context.Context, q *wirepb.ChangeReplicasRequest) (*wirepb.GroupInfo, error) {
	return inReign(ctx, s.manager, q, (*reign).changeReplicas)
}

// ListGroups implements wirepb.ManagerServer. When one group is asked for, its
// leader is asked how far the replicas are.
func (s *service) ListGroups(ctx context.Context, q *wirepb.ListGroupsRequest) (*wirepb.ListGroupsResponse, error) {
	if q.GetGroup() != 0 {
		return inReign(ctx, s.manager, q, (*reign).showGroup)
	}
	return list(ctx, s.manager, func(r *reign) (*wirepb.ListGroupsResponse, error) {
		answer := &wirepb.ListGroupsResponse{}
		for _, id := range slices.Sorted(maps.Keys(r.groups)) {
			answer.Groups = append(answer.Groups, r.groupInfo(r.groups[id]))
		}
		return answer, nil
	})
}

// ListVolumes implements wirepb.ManagerServer.
func (s *service) ListVolumes(ctx context.Context, q *wirepb.ListVolumesRequest) (*wirepb.ListVolumesResponse, error) {
	return list(ctx, s.manager, func(r *reign) (*wirepb.ListVolumesResponse, error) {
		answer := &wirepb.ListVolumesResponse{}
		for _, id := range slices.Sorted(maps.Keys(r.volumes)) {
			if v := r.volumes[id].Is; q.GetName() == "" || q.GetName() == v.Name {
				answer.Volumes = append(answer.Volumes, r.volumeInfo(v))
			}
		}
		return answer, nil
	})
}

// ListLeases implements wirepb.ManagerServer.
func (s *service) ListLeases(ctx context.Context, _ *wirepb.ListLeasesRequest) (*wirepb.ListLeasesResponse, error) {
	return list(ctx, s.manager, func(r *reign) (*wirepb.ListLeasesResponse, error) {
		answer := &wirepb.ListLeasesResponse{}
		now := r.cfg.Clock()
		for _, id := range slices.Sorted(maps.Keys(r.groups)) {
			g := r.groups[id]
			record := g.Is.Lease
			answer.Leases = append(answer.Leases, &wirepb.LeaseInfo{
				Group: uint64(id), Node: uint64(record.Holder), Appointment: uint64(record.Held), RaftTerm: uint64(record.Term),
				LeftMs: g.granter.Left(now).Milliseconds(), Grants: g.grants, Reason: r.why(g),
			})
		}
		return answer, nil
	})
}

// Route implements wirepb.ManagerServer.
func (s *service) Route(ctx context.Context, q *wirepb.RouteRequest) (*wirepb.RouteResponse, error) {
	return list(ctx, s.manager, func(r *reign) (*wirepb.RouteResponse, error) {
		id := pinetree.VolumeID(q.GetVolume())
		if q.GetVolumeName() != "" {
			id = r.names[q.GetVolumeName()]
		}
		k := r.volumes[id]
		if k == nil {
			return nil, refuse(pinetree.ErrUnknownVolume, "there is no volume %s", cmp.Or(q.GetVolumeName(), "of that id"))
		}
		info := r.volumeInfo(k.Is)
		answer := &wirepb.RouteResponse{Volume: info, Leader: info.GetLeader()}
		for _, voter := range r.groups[k.Is.Group].Is.Voters {
			if n := r.nodes[voter]; n != nil {
				answer.Replicas = append(answer.Replicas, r.nodeInfo(n))
			}
		}
		return answer, nil
	})
}

// ListEvents implements wirepb.ManagerServer.
func (s *service) ListEvents(ctx context.Context, q *wirepb.ListEventsRequest) (*wirepb.ListEventsResponse, error) {
	return list(ctx, s.manager, func(r *reign) (*wirepb.ListEventsResponse, error) {
		answer := &wirepb.ListEventsResponse{}
		for _, e := range r.events.After(q.GetAfter(), q.GetLimit()) {
			answer.Events = append(answer.Events, &wirepb.Event{
				Id: e.ID, UnixMs: e.UnixMilli, Kind: e.Kind, Group: uint64(e.Group), Node: uint64(e.Node),
				Appointment: uint64(e.Appointment), Cause: e.Cause, Outcome: e.Outcome,
			})
		}
		return answer, nil
	})
}
