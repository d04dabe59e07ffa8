package orders

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// oddNode has the replicas of the groups with odd numbers.
type oddNode struct {
	wirepb.UnimplementedNodeServer
	calls atomic.Int64
}

func (o *oddNode) Status(_ context.Context, q *wirepb.StatusRequest) (*wirepb.StatusResponse, error) {
	o.calls.Add(1)
	answer := &wirepb.StatusResponse{Node: 1}
	for _, g := range q.Groups {
		if g%2 == 1 {
			answer.Replicas = append(answer.Replicas, &wirepb.ReplicaStatus{Group: g, LastIndex: 10 * g})
		}
	}
	return answer, nil
}

// TestQuestionsAtTheSameTimeShareACall asks one node of many groups at once: each
// gets its own answer, and there are far fewer calls than questions.
func TestQuestionsAtTheSameTimeShareACall(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	odd, server := &oddNode{}, grpc.NewServer()
	wirepb.RegisterNodeServer(server, odd)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() { server.Stop(); <-served }()
	n := New(Timeouts{Probe: 10 * time.Second, Call: 10 * time.Second, Appoint: 10 * time.Second})
	defer n.Close()

	const questions = 400
	target := Target{Node: 1, Address: listener.Addr().String()}
	other := Target{Node: 2, Address: listener.Addr().String()}
	var asking sync.WaitGroup
	for i := range questions {
		group := pinetree.GroupID(i + 1)
		asking.Go(func() {
			got := n.Collect(t.Context(), group, []Target{target, other})
			switch has := group%2 == 1; {
			case got[1] != nil:
				t.Errorf("group %d: node 1 answered for node 2: %v", group, got[1])
			case has != (got[0] != nil):
				t.Errorf("group %d: %v", group, got[0])
			case has && (got[0].Group != uint64(group) || got[0].LastIndex != 10*uint64(group)):
				t.Errorf("group %d got the answer of another: %v", group, got[0])
			}
		})
	}
	asking.Wait()
	if calls := odd.calls.Load(); calls < 1 || calls > questions/4 {
		t.Errorf("%d questions took %d calls", 2*questions, calls)
	} else {
		t.Logf("%d questions took %d calls", 2*questions, calls)
	}
}

// TestAQuestionToADeadNodeIsNoAnswer asks an address that refuses connections.
func TestAQuestionToADeadNodeIsNoAnswer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	n := New(Timeouts{Probe: 5 * time.Second})
	defer n.Close()
	began := time.Now()
	if got := n.Collect(t.Context(), 1, []Target{{Node: 1, Address: listener.Addr().String()}}); got[0] != nil {
		t.Errorf("a dead node answered %v", got[0])
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("a refused connection took %v", took)
	}
}

// TestNoConnectionIsMadeAfterTheEnd: a caller that does not know of it would leave
// one behind.
func TestNoConnectionIsMadeAfterTheEnd(t *testing.T) {
	n := New(Timeouts{Probe: time.Second, Call: time.Second, Appoint: time.Second})
	n.Close()
	if _, err := n.client("127.0.0.1:1"); !errors.Is(err, pinetree.ErrStopped) || len(n.conns) != 0 {
		t.Errorf("after the end: %v, %d connections", err, len(n.conns))
	}
}

// together answers calls for several groups when it is told to, and others at once.
type together struct {
	oddNode
	asked, answer chan struct{}
}

func (n *together) Status(ctx context.Context, q *wirepb.StatusRequest) (*wirepb.StatusResponse, error) {
	if len(q.Groups) > 1 {
		n.asked <- struct{}{}
		select {
		case <-n.answer:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return n.oddNode.Status(ctx, q)
}

// TestWhoLeavesTakesNoAnswerAway: of two that ask in one call, the one that made it
// may be a listing whose caller went away, and the other one an election.
func TestWhoLeavesTakesNoAnswerAway(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	node, server := &together{asked: make(chan struct{}), answer: make(chan struct{})}, grpc.NewServer()
	wirepb.RegisterNodeServer(server, node)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() { server.Stop(); <-served }()
	n := New(Timeouts{Probe: 10 * time.Second})
	defer n.Close()
	target := []Target{{Node: 1, Address: listener.Addr().String()}}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		leaving, leave := context.WithCancel(t.Context())
		var asking sync.WaitGroup
		asking.Go(func() { n.Collect(leaving, 1, target) })
		for n.gathering() == 0 && time.Now().Before(deadline) {
			time.Sleep(50 * time.Microsecond)
		}
		got := make(chan *wirepb.ReplicaStatus, 1)
		asking.Go(func() { got <- n.Collect(t.Context(), 3, target)[0] })
		select {
		case <-node.asked:
			leave()
			time.Sleep(20 * time.Millisecond) // a call that ends with its maker has ended by then
			close(node.answer)
			if status := <-got; status.GetLastIndex() != 30 {
				t.Errorf("who stayed was told %v", status)
			}
			asking.Wait()
			return
		case <-got: // they asked one after the other
			leave()
			asking.Wait()
		}
	}
	t.Fatal("two questions never shared a call")
}

// gathering is how many calls wait for questions.
func (n *Nodes) gathering() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.inquiries)
}
