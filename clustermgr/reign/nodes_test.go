package reign

import (
	"context"
	"errors"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// TestANodeThatIsForgottenWhileItRegistersIsToldSo: one that leaves may be restarted
// in the moment in which its record ends, and no manager may die of that.
func TestANodeThatIsForgottenWhileItRegistersIsToldSo(t *testing.T) {
	r := large(t, 2, 1)
	r.hands.Do = func(ctx context.Context, find func()) error {
		return r.do(ctx, func() {
			find()
			delete(r.nodes, 1)
		})
	}
	n := r.nodes[1].Is
	over := make(chan struct{})
	go func() { defer close(over); _ = r.Run() }()
	t.Cleanup(func() { <-over })
	_, err := r.Register(t.Context(), &wirepb.RegisterRequest{Node: 1, Instance: n.Instance, Address: n.Address, Zone: n.Zone})
	if !errors.Is(err, pinetree.ErrNotFound) {
		t.Errorf("registered: %v", err)
	}
}

// TestAStreamThatBeginsWithChangesIsRefused: changes of what nobody has told say
// nothing.
func TestAStreamThatBeginsWithChangesIsRefused(t *testing.T) {
	r := large(t, 2, 1)
	n := r.nodes[1]
	n.replicas = nil
	first := &wirepb.HeartbeatRequest{
		Node: 1, Instance: n.Is.Instance, Sequence: 1, ChangesOnly: true,
		Replicas: []*wirepb.ReplicaStatus{{Group: 1, Leader: true}},
	}
	s, err := r.connect(first)
	if err == nil {
		r.heartbeat(s, first)
	}
	if !errors.Is(err, pinetree.ErrBadBatch) {
		t.Errorf("connected: %v", err)
	}
}
