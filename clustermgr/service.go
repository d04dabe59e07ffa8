package clustermgr

import (
	"context"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree/clustermgr/reign"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// service answers RPCs from the reign, or names the active manager.
type service struct {
	wirepb.UnimplementedManagerServer
	manager *Manager
}

// inReign calls a function of the reign.
func inReign[Q, A any](ctx context.Context, m *Manager, q Q, call func(*reign.Reign, context.Context, Q) (A, error)) (A, error) {
	r, err := m.current(ctx)
	if err != nil {
		var none A
		return none, err
	}
	return call(r, ctx, q)
}

// Heartbeat implements wirepb.ManagerServer.
func (s *service) Heartbeat(stream grpc.BidiStreamingServer[wirepb.HeartbeatRequest, wirepb.HeartbeatResponse]) error {
	r, err := s.manager.current(stream.Context())
	if err != nil {
		return err
	}
	return r.Heartbeats(stream, s.manager.receivers.Go)
}

// Register implements wirepb.ManagerServer.
func (s *service) Register(ctx context.Context, q *wirepb.RegisterRequest) (*wirepb.RegisterResponse, error) {
	return inReign(ctx, s.manager, q, (*reign.Reign).Register)
}

// ListNodes implements wirepb.ManagerServer.
func (s *service) ListNodes(ctx context.Context, q *wirepb.ListNodesRequest) (*wirepb.ListNodesResponse, error) {
	return inReign(ctx, s.manager, q, (*reign.Reign).ListNodes)
}

// CreateGroup implements wirepb.ManagerServer.
func (s *service) CreateGroup(ctx context.Context, q *wirepb.CreateGroupRequest) (*wirepb.GroupInfo, error) {
	return inReign(ctx, s.manager, q, (*reign.Reign).CreateGroup)
}

// ListGroups implements wirepb.ManagerServer.
func (s *service) ListGroups(ctx context.Context, q *wirepb.ListGroupsRequest) (*wirepb.ListGroupsResponse, error) {
	return inReign(ctx, s.manager, q, (*reign.Reign).ListGroups)
}

// ChangeReplicas implements wirepb.ManagerServer.
func (s *service) ChangeReplicas(ctx context.Context, q *wirepb.ChangeReplicasRequest) (*wirepb.GroupInfo, error) {
	return inReign(ctx, s.manager, q, (*reign.Reign).ChangeReplicas)
}

// CreateVolume implements wirepb.ManagerServer.
func (s *service) CreateVolume(ctx context.Context, q *wirepb.CreateVolumeRequest) (*wirepb.VolumeInfo, error) {
	return inReign(ctx, s.manager, q, (*reign.Reign).CreateVolume)
}

// ListVolumes implements wirepb.ManagerServer.
func (s *service) ListVolumes(ctx context.Context, q *wirepb.ListVolumesRequest) (*wirepb.ListVolumesResponse, error) {
	return inReign(ctx, s.manager, q, (*reign.Reign).ListVolumes)
}

// MoveLeader implements wirepb.ManagerServer.
func (s *service) MoveLeader(ctx context.Context, q *wirepb.MoveLeaderRequest) (*wirepb.MoveLeaderResponse, error) {
	return inReign(ctx, s.manager, q, (*reign.Reign).MoveLeader)
}

// DrainNode implements wirepb.ManagerServer.
func (s *service) DrainNode(ctx context.Context, q *wirepb.DrainNodeRequest) (*wirepb.NodeInfo, error) {
	return inReign(ctx, s.manager, q, (*reign.Reign).DrainNode)
}

// ListLeases implements wirepb.ManagerServer.
func (s *service) ListLeases(ctx context.Context, q *wirepb.ListLeasesRequest) (*wirepb.ListLeasesResponse, error) {
	return inReign(ctx, s.manager, q, (*reign.Reign).ListLeases)
}

// Route implements wirepb.ManagerServer.
func (s *service) Route(ctx context.Context, q *wirepb.RouteRequest) (*wirepb.RouteResponse, error) {
	return inReign(ctx, s.manager, q, (*reign.Reign).Route)
}

// ListEvents implements wirepb.ManagerServer.
func (s *service) ListEvents(ctx context.Context, q *wirepb.ListEventsRequest) (*wirepb.ListEventsResponse, error) {
	return inReign(ctx, s.manager, q, (*reign.Reign).ListEvents)
}

// DeleteGroup implements wirepb.ManagerServer.
func (s *service) DeleteGroup(ctx context.Context, q *wirepb.DeleteGroupRequest) (*wirepb.DeleteGroupResponse, error) {
	return inReign(ctx, s.manager, q, (*reign.Reign).DeleteGroup)
}

// DeleteVolume implements wirepb.ManagerServer.
func (s *service) DeleteVolume(ctx context.Context, q *wirepb.DeleteVolumeRequest) (*wirepb.DeleteVolumeResponse, error) {
	return inReign(ctx, s.manager, q, (*reign.Reign).DeleteVolume)
}

// WatchEvents implements wirepb.ManagerServer.
func (s *service) WatchEvents(q *wirepb.ListEventsRequest, stream grpc.ServerStreamingServer[wirepb.Event]) error {
	r, err := s.manager.current(stream.Context())
	if err != nil {
		return err
	}
	return r.WatchEvents(q, stream)
}
