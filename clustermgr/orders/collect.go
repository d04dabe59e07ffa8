package orders

import (
	"context"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// gatherFor is how long a question waits for others to the same node. When a node
// dies, hundreds of groups ask the same few nodes within a moment, and one call
// for all of them costs hardly more than one for each.
const gatherFor = 2 * time.Millisecond

// inquiry is one call to one node for the replicas of several groups.
type inquiry struct {
	groups  []uint64
	asked   chan struct{} // closed when the answer is there, or will not come
	node    pinetree.NodeID
	answers map[uint64]*wirepb.ReplicaStatus // by group; set before asked is closed
}

// Collect asks every target for its replica of a group, side by side, so that
// those that do not answer cost no more than one probe together. Where there
// was no answer or no replica the status is nil. Questions to the same node that
// come at the same time go in one call.
func (n *Nodes) Collect(ctx context.Context, group pinetree.GroupID, targets []Target) []*wirepb.ReplicaStatus {
	ctx, cancel := context.WithTimeout(ctx, n.timeouts.Probe)
	defer cancel()
	answers := make([]*wirepb.ReplicaStatus, len(targets))
	var all sync.WaitGroup
	for i, t := range targets {
		if t == (Target{}) {
			continue
		}
		all.Go(func() { answers[i] = n.inquire(ctx, t, group) })
	}
	all.Wait()
	return answers
}

// inquire asks one node for its replica of a group, in one call with whoever asks
// the same node now. The first of them makes the call.
func (n *Nodes) inquire(ctx context.Context, t Target, group pinetree.GroupID) *wirepb.ReplicaStatus {
	n.mu.Lock()
	q := n.inquiries[t.Address]
	first := q == nil
	if first {
		q = &inquiry{asked: make(chan struct{})}
		n.inquiries[t.Address] = q
	}
	q.groups = append(q.groups, uint64(group))
	n.mu.Unlock()
	if first {
		// Others wait for the answer, too: the call does not end with who makes it.
		sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.timeouts.Probe)
		n.send(sending, t.Address, q)
		cancel()
	}
	select {
	case <-q.asked:
		if q.node == t.Node {
			return q.answers[uint64(group)]
		}
	case <-ctx.Done():
	}
	return nil
}

// send waits until the questions have gathered and makes the call.
func (n *Nodes) send(ctx context.Context, address string, q *inquiry) {
	defer close(q.asked)
	gathering := time.NewTimer(gatherFor)
	defer gathering.Stop()
	select {
	case <-gathering.C:
	case <-ctx.Done():
	}
	n.mu.Lock()
	delete(n.inquiries, address) // who comes later asks anew
	n.mu.Unlock()
	client, err := n.client(address)
	if err != nil {
		return
	}
	state, err := client.Status(ctx, &wirepb.StatusRequest{Groups: q.groups})
	if err != nil {
		return
	}
	q.node = pinetree.NodeID(state.GetNode())
	q.answers = make(map[uint64]*wirepb.ReplicaStatus, len(state.GetReplicas()))
	for _, s := range state.GetReplicas() {
		q.answers[s.GetGroup()] = s
	}
}
