package clustermgr

import (
	"context"
	"errors"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// enter is the start of each order: a frozen node takes it and never answers.
func (n *fakeNode) enter(ctx context.Context, order string) (func(), error) {
	for {
		unlock := n.lock()
		if !n.frozen {
			n.orders[order]++
			return unlock, nil
		}
		unlock()
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (n *fakeNode) CreateReplica(ctx context.Context, q *wirepb.CreateReplicaRequest) (*wirepb.CreateReplicaResponse, error) {
	unlock, err := n.enter(ctx, "create replica")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if n.deleted[q.GetGroup()] {
		return nil, pinetree.ErrUnknownGroup
	}
	if n.replicas[q.GetGroup()] == nil && q.GetBlank() {
		n.replicas[q.GetGroup()] = &fakeReplica{holder: lease.NewHolder(0.01), volumes: map[uint64]uint32{}}
		n.ping()
	}
	if n.replicas[q.GetGroup()] == nil {
		n.replicas[q.GetGroup()] = &fakeReplica{voters: q.GetVoters(), holder: lease.NewHolder(0.01), index: 1, volumes: map[uint64]uint32{}}
	}
	return &wirepb.CreateReplicaResponse{}, n.held(ctx, "create replica")
}

func (n *fakeNode) CreateVolume(ctx context.Context, q *wirepb.NodeCreateVolumeRequest) (*wirepb.NodeCreateVolumeResponse, error) {
	unlock, err := n.enter(ctx, "create volume")
	if err != nil {
		return nil, err
	}
	defer unlock()
	r := n.replicas[q.GetGroup()]
	if r == nil || !r.holder.Activated(r.leads) {
		return nil, pinetree.ErrNotLeader
	}
	r.volumes[q.GetVolume()] = q.GetFormat()
	return &wirepb.NodeCreateVolumeResponse{}, nil
}

func (n *fakeNode) DropVolume(ctx context.Context, q *wirepb.NodeDropVolumeRequest) (*wirepb.NodeDropVolumeResponse, error) {
	unlock, err := n.enter(ctx, "drop volume")
	if err != nil {
		return nil, err
	}
	defer unlock()
	r := n.replicas[q.GetGroup()]
	if r == nil || !r.holder.Activated(r.leads) {
		return nil, pinetree.ErrNotLeader
	}
	delete(r.volumes, q.GetVolume())
	return &wirepb.NodeDropVolumeResponse{}, nil
}

func (n *fakeNode) Appoint(ctx context.Context, q *wirepb.AppointRequest) (*wirepb.AppointResponse, error) {
	last := errors.New("not tried")
	for first := true; ; first = false {
		unlock, err := n.enter(ctx, "appoint")
		if err != nil {
			return nil, errors.Join(last, err)
		}
		r := n.replicas[q.GetGroup()]
		if r == nil {
			unlock()
			return nil, pinetree.ErrUnknownGroup
		}
		if first {
			if err := r.holder.Appoint(pinetree.AppointmentID(q.GetAppointment())); err != nil {
				unlock()
				return nil, err
			}
		}
		if r.leads == 0 && !q.GetWait() {
			last = n.elect(q.GetGroup())
		}
		if r.leads != 0 {
			status := n.status(q.GetGroup())
			unlock()
			return &wirepb.AppointResponse{Status: status}, nil
		}
		unlock()
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(last, ctx.Err())
		}
	}
}

func (n *fakeNode) Transfer(ctx context.Context, q *wirepb.TransferRequest) (*wirepb.TransferResponse, error) {
	unlock, err := n.enter(ctx, "transfer")
	if err != nil {
		return nil, err
	}
	defer unlock()
	r := n.replicas[q.GetGroup()]
	switch {
	case r == nil || r.leads == 0:
		return nil, pinetree.ErrNotLeader
	case q.GetCheck() && n.lags > 0:
		n.lags--
		return &wirepb.TransferResponse{Reason: "node 2 lacks 9 MiB", Lags: true}, nil
	case q.GetCheck() && !n.lateNo || !q.GetCheck() && n.noMoves != "":
		return &wirepb.TransferResponse{Reason: n.noMoves}, nil
	case q.GetCheck():
		return &wirepb.TransferResponse{}, nil
	}
	r.holder.Release(pinetree.AppointmentID(q.GetAppointment()))
	if n.deaf {
		return &wirepb.TransferResponse{Released: true, PauseUs: q.GetMaxPauseMs() * 1000, Reason: "the pause is over"}, nil
	}
	if err := n.raft.nodes[pinetree.NodeID(q.GetTo())].elect(q.GetGroup()); err != nil {
		return &wirepb.TransferResponse{Released: true, Reason: err.Error()}, nil
	}
	return &wirepb.TransferResponse{Released: true, Transferred: true, PauseUs: 100}, nil
}

func (n *fakeNode) Status(ctx context.Context, q *wirepb.StatusRequest) (*wirepb.StatusResponse, error) {
	unlock, err := n.enter(ctx, "status")
	if err != nil {
		return nil, err
	}
	defer unlock()
	answer := &wirepb.StatusResponse{Node: uint64(n.id), Instance: n.instance}
	for id := range n.replicas {
		if q.GetGroup() == 0 || q.GetGroup() == id {
			answer.Replicas = append(answer.Replicas, n.status(id))
		}
	}
	return answer, nil
}
