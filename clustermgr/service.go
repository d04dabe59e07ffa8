package clustermgr

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree/clustermgr/reign"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// service answers RPCs from the reign, or has the active manager answer them.
// The nodes' own calls are only told who that is: their streams are not sent on.
type service struct {
	wirepb.UnimplementedManagerServer
	manager *Manager
}

// maxCall bounds a call whose client set no deadline.
const maxCall = 10 * time.Minute

// inReign calls a function of the reign, here or at the active manager.
func inReign[Q, A any](ctx context.Context, m *Manager, q *Q, call func(*reign.Reign, context.Context, *Q) (*A, error)) (*A, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, maxCall)
		defer cancel()
	}
	var answer *A
	method, _ := grpc.Method(ctx)
	err := m.answer(ctx, attempt{
		here: func(r *reign.Reign) (err error) {
			answer, err = call(r, ctx, q)
			return err
		},
		there: func(ctx context.Context, conn *grpc.ClientConn) error {
			answer = new(A)
			return conn.Invoke(ctx, method, q, answer)
		},
		again: func(err error) bool { return notBegun(err) || wirepb.Unreachable(err) && asks(method) },
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// sending notes that something was sent on a stream.
type sending[A any] struct {
	grpc.ServerStreamingServer[A]
	begun bool
}

// Send implements grpc.ServerStreamingServer.
func (s *sending[A]) Send(answer *A) error {
	s.begun = true
	return s.ServerStreamingServer.Send(answer)
}

// streamInReign is inReign for a call whose answer is a stream. One that has begun
// is not begun anew: the caller knows where to go on.
func streamInReign[Q, A any](m *Manager, q *Q, to grpc.ServerStreamingServer[A], call func(*reign.Reign, *Q, grpc.ServerStreamingServer[A]) error) error {
	method, _ := grpc.Method(to.Context())
	answers := &sending[A]{ServerStreamingServer: to}
	return m.answer(to.Context(), attempt{
		here: func(r *reign.Reign) error { return call(r, q, answers) },
		there: func(ctx context.Context, conn *grpc.ClientConn) error {
			return relayStream(ctx, conn, method, q, answers)
		},
		again: func(err error) bool { return !answers.begun && notBegun(err) },
	})
}

// Heartbeat implements wirepb.ManagerServer.
func (s *service) Heartbeat(stream grpc.BidiStreamingServer[wirepb.HeartbeatRequest, wirepb.HeartbeatResponse]) error {
	r, err := s.manager.current()
	if err != nil {
		return err
	}
	return r.Heartbeats(stream, s.manager.receivers.Go)
}

// Register implements wirepb.ManagerServer.
func (s *service) Register(ctx context.Context, q *wirepb.RegisterRequest) (*wirepb.RegisterResponse, error) {
	r, err := s.manager.current()
	if err != nil {
		return nil, err
	}
	return r.Register(ctx, q)
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
	return streamInReign(s.manager, q, stream, (*reign.Reign).WatchEvents)
}

// RemoveNode implements wirepb.ManagerServer.
func (s *service) RemoveNode(ctx context.Context, q *wirepb.RemoveNodeRequest) (*wirepb.RemoveNodeResponse, error) {
	return inReign(ctx, s.manager, q, (*reign.Reign).RemoveNode)
}

// SafeToStop implements wirepb.ManagerServer.
func (s *service) SafeToStop(ctx context.Context, q *wirepb.SafeToStopRequest) (*wirepb.SafeToStopResponse, error) {
	return inReign(ctx, s.manager, q, (*reign.Reign).SafeToStop)
}
