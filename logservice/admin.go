package logservice

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// adminService carries out the manager's orders.
type adminService struct {
	wirepb.UnimplementedNodeServer
	node *Node
}

// CreateReplica implements wirepb.NodeServer.
func (s *adminService) CreateReplica(ctx context.Context, q *wirepb.CreateReplicaRequest) (*wirepb.CreateReplicaResponse, error) {
	var err error
	switch {
	case q.Blank && len(q.Voters) > 0:
		err = badRequest("a blank replica of group %d with voters %v; it learns them from a snapshot", q.Group, q.Voters)
	case q.Blank:
		err = s.node.host.CreateBlank(ctx, pinetree.GroupID(q.Group))
	default:
		err = s.node.host.Create(ctx, pinetree.GroupID(q.Group), nodeIDs(q.Voters))
	}
	if err != nil {
		return nil, err
	}
	// The manager appoints or moves only to replicas that it has heard of.
	s.node.agent.poke()
	return &wirepb.CreateReplicaResponse{}, nil
}

// CreateVolume implements wirepb.NodeServer.
func (s *adminService) CreateVolume(ctx context.Context, q *wirepb.NodeCreateVolumeRequest) (*wirepb.NodeCreateVolumeResponse, error) {
	g, err := s.node.host.Group(pinetree.GroupID(q.Group))
	if err != nil {
		return nil, err
	}
	if q.Format > uint32(pinetree.FormatRedo) {
		return nil, badRequest("volume format %d; formats are opaque (1) and redo (2)", q.Format)
	}
	return &wirepb.NodeCreateVolumeResponse{}, g.CreateVolume(ctx, pinetree.VolumeID(q.Volume), pinetree.Format(q.Format))
}

// DropVolume implements wirepb.NodeServer.
func (s *adminService) DropVolume(ctx context.Context, q *wirepb.NodeDropVolumeRequest) (*wirepb.NodeDropVolumeResponse, error) {
	g, err := s.node.host.Group(pinetree.GroupID(q.Group))
	if err != nil {
		return nil, err
	}
	// Its writers are fenced before, so that nothing of them comes after.
	_, err = g.Open(ctx, pinetree.VolumeID(q.Volume), adapter.Fence{Term: adapter.EndTerm})
	if errors.Is(err, pinetree.ErrUnknownVolume) {
		return &wirepb.NodeDropVolumeResponse{}, nil // it was dropped before
	}
	if err == nil {
		err = g.Control(ctx, &storepb.Control{Op: &storepb.Control_DropVolume{DropVolume: &storepb.DropVolume{Volume: q.Volume}}})
	}
	return &wirepb.NodeDropVolumeResponse{}, err
}

// Appoint implements wirepb.NodeServer.
func (s *adminService) Appoint(ctx context.Context, q *wirepb.AppointRequest) (*wirepb.AppointResponse, error) {
	g, err := s.node.host.Group(pinetree.GroupID(q.Group))
	if err != nil {
		return nil, err
	}
	if err := g.Appoint(ctx, group.Appointment{ID: pinetree.AppointmentID(q.Appointment), Wait: q.Wait}); err != nil {
		return nil, err
	}
	status, err := g.Status(ctx)
	return &wirepb.AppointResponse{Status: replicaStatus(status)}, err
}

// Transfer implements wirepb.NodeServer.
func (s *adminService) Transfer(ctx context.Context, q *wirepb.TransferRequest) (*wirepb.TransferResponse, error) {
	g, err := s.node.host.Group(pinetree.GroupID(q.Group))
	if err != nil {
		return nil, err
	}
	result, err := g.Transfer(ctx, group.TransferOrder{
		Appointment: pinetree.AppointmentID(q.Appointment), To: pinetree.NodeID(q.To),
		MaxPause: time.Duration(q.MaxPauseMs) * time.Millisecond, MaxLag: int(min(q.MaxLagBytes, math.MaxInt32)), Check: q.Check,
	})
	if err != nil {
		return nil, err
	}
	return &wirepb.TransferResponse{
		Released: result.Released, Transferred: result.Transferred,
		PauseUs: uint32(result.Pause.Microseconds()), Reason: result.Reason, Lags: result.Lags,
	}, nil
}

// Release implements wirepb.NodeServer.
func (s *adminService) Release(ctx context.Context, q *wirepb.ReleaseRequest) (*wirepb.ReleaseResponse, error) {
	g, err := s.node.host.Group(pinetree.GroupID(q.Group))
	if err != nil {
		return nil, err
	}
	return &wirepb.ReleaseResponse{}, g.Release(ctx, pinetree.AppointmentID(q.Appointment))
}

// Status implements wirepb.NodeServer.
func (s *adminService) Status(ctx context.Context, q *wirepb.StatusRequest) (*wirepb.StatusResponse, error) {
	groups := s.node.host.Groups()
	if q.Group != 0 {
		g, err := s.node.host.Group(pinetree.GroupID(q.Group))
		if err != nil {
			return nil, err
		}
		groups = []*host.Group{g}
	}
	if len(q.Groups) > 0 {
		return s.statusOf(ctx, q.Groups), nil
	}
	answer := &wirepb.StatusResponse{Node: uint64(s.node.identity.Node), Instance: s.node.identity.Instance}
	for _, g := range groups {
		status, err := g.Status(ctx)
		if err != nil {
			return nil, err
		}
		replica := replicaStatus(status)
		replica.Members = memberProgress(status.Members)
		answer.Replicas = append(answer.Replicas, replica)
	}
	return answer, nil
}

// statusOf asks some replicas side by side. It waits for none longer than half of
// the time that the caller has, so that one that hangs hides no other.
func (s *adminService) statusOf(ctx context.Context, groups []uint64) *wirepb.StatusResponse {
	if deadline, bounded := ctx.Deadline(); bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	found := make([]*wirepb.ReplicaStatus, len(groups))
	var asks errgroup.Group
	asks.SetLimit(statusAsks)
	for i, id := range groups {
		g, err := s.node.host.Group(pinetree.GroupID(id))
		if err != nil {
			continue
		}
		asks.Go(func() error {
			if status, err := g.Status(ctx); err == nil {
				found[i] = replicaStatus(status)
				found[i].Members = memberProgress(status.Members)
			}
			return nil
		})
	}
	_ = asks.Wait() // no ask returns an error
	return &wirepb.StatusResponse{
		Node: uint64(s.node.identity.Node), Instance: s.node.identity.Instance,
		Replicas: slices.DeleteFunc(found, func(r *wirepb.ReplicaStatus) bool { return r == nil }),
	}
}
