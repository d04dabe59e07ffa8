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
