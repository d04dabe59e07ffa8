package ship

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testVolume = pinetree.VolumeID(7)
	testGroup  = pinetree.GroupID(3)
	patience   = 30 * time.Second
)

// world is a storage cluster with one volume, reduced to what a client can see
// of it: what is in raft's hands, what is committed, who leads, and what goes
// wrong. Its nodes and managers are gRPC servers on loopback.
type world struct {
	t testing.TB

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change
	leader  pinetree.NodeID
	epoch   int // counts changes of leader
	at      pinetree.VolumePosition
	log     []pinetree.Batch
	queue   *adapter.Queue
	// inRaft are batches taken from the queue and not committed. With hold they
	// stay there until commit is called.
	inRaft []pinetree.Batch
	hold   bool
	limits adapter.Limits
	// refuse is the error of the next batches offered.
	refuse []error
	// silent leaders send no acknowledgements.
	silent bool
	// makesWait is how long a leader says that the volume's ingest rate makes batches
	// wait; zero is not at all.
	makesWait time.Duration

	nodes    []*fakeNode
	managers []*fakeManager
}

// newWorld starts three nodes, the first of which leads, and a manager.
func newWorld(t testing.TB) *world {
	w := &world{t: t, changed: make(chan struct{}), leader: 1, limits: adapter.Limits{MaxHeldBytes: 64 << 20, MaxHeldBatches: 1 << 16}}
	w.at.Format = pinetree.FormatOpaque
	w.queue = adapter.NewQueue(w.at, w.limits)
	for id := pinetree.NodeID(1); id <= 3; id++ {
		n := &fakeNode{world: w, id: id}
		n.zone = fmt.Sprintf("zone-%d", id)
		n.start(func(s *grpc.Server) {
			wirepb.RegisterComputeServer(s, fakeCompute{node: n})
			wirepb.RegisterReadsServer(s, fakeReads{node: n})
		})
		w.nodes = append(w.nodes, n)
	}
	m := &fakeManager{world: w}
	m.start(m.serve)
	w.managers = append(w.managers, m)
	t.Cleanup(func() {
		for _, n := range w.nodes {
			n.stop()
		}
		for _, m := range w.managers {
			m.stop()
		}
	})
	return w
}

// dial makes a client with short times.
func (w *world) dial(change func(*Config)) *Client {
	w.t.Helper()
	cfg := Config{Volume: "db", AttemptTimeout: 300 * time.Millisecond, ManagerTimeout: 200 * time.Millisecond, ConnectTimeout: 200 * time.Millisecond, RetryFor: patience}
	for _, m := range w.managers {
		cfg.Managers = append(cfg.Managers, m.addr)
	}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := Dial(ctx, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

// open opens a writer on a new client.
func (w *world) open(cfg WriterConfig) *Writer {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	writer, err := w.dial(nil).OpenWriter(ctx, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return writer
}

// change runs f under the world's lock and tells everybody.
func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	w.tell()
}

func (w *world) tell() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// await waits until a condition on the world holds.
func (w *world) await(what string, holds func() bool) {
	w.t.Helper()
	limit := time.After(patience)
	for {
		w.mu.Lock()
		ok, changed := holds(), w.changed
		w.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit:
			w.t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// commit makes the first n of what is in raft's hands part of the log, as every
// replica would apply it.
func (w *world) commit(n int) {
	for _, b := range w.inRaft[:n] {
		switch d := adapter.Decide(w.at, b); d {
		case adapter.Apply:
			w.log, w.at.LSN = append(w.log, b), b.LSN
		case adapter.Hole:
			w.t.Errorf("batch (%s, %s] is a hole at %s", b.Prev, b.LSN, w.at.LSN)
		}
	}
	w.inRaft = w.inRaft[n:]
	w.tell()
}

// elect makes a node the leader. What is in raft's hands is committed up to
// kept batches; the rest is lost.
func (w *world) elect(id pinetree.NodeID, kept int) {
	w.commit(min(kept, len(w.inRaft)))
	w.inRaft = nil
	w.leader = id
	w.epoch++
	w.queue.Reset(w.at)
	w.tell()
}

// reset is a dropped proposal: the queue goes on behind what is in raft's hands
// and will be committed, and the streams end.
func (w *world) reset() {
	at := w.at
	if n := len(w.inRaft); n > 0 {
		at.LSN = w.inRaft[n-1].LSN
	}
	w.queue.Reset(at)
	w.epoch++
	w.tell()
}

func (w *world) notLeader() error {
	e := &pinetree.NotLeaderError{Group: testGroup, Leader: w.leader}
	if w.leader != 0 && w.epoch%2 == 0 {
		e.Addr = w.nodes[w.leader-1].addr
	}
	return e
}

// offer is a batch that reached a node.
func (w *world) offer(n *fakeNode, b pinetree.Batch) error {
	if n.zombie {
		return nil
	}
	if len(w.refuse) > 0 {
		err := w.refuse[0]
		w.refuse = w.refuse[1:]
		return err
	}
	if n.id != w.leader {
		return w.notLeader()
	}
	if _, err := w.queue.Offer(b); err != nil {
		if stale, ok := errors.AsType[*pinetree.StaleComputeTermError](err); ok {
			stale.Durable = w.at.LSN
		}
		return err
	}
	w.inRaft = append(w.inRaft, w.queue.Take(1<<30)...)
	if !w.hold {
		w.commit(len(w.inRaft))
	}
	w.tell()
	return nil
}

// records returns the log's records, and fails the test if there is a hole.
func (w *world) records() []pinetree.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	return recordsOf(w.t, w.at.Base, w.log)
}

// holds tells whether the log is committed up to an LSN.
func (w *world) holds(lsn pinetree.LSN) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at.LSN >= lsn
}

// process is a gRPC server that can be killed and started again at its address.
type process struct {
	addr     string
	register func(*grpc.Server)
	server   *grpc.Server
	serving  sync.WaitGroup
}

func (p *process) start(register func(*grpc.Server)) {
	p.register = register
	addr := p.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var listener net.Listener
	for limit := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		var err error
		if listener, err = net.Listen("tcp", addr); err == nil {
			break
		}
		if time.Now().After(limit) {
			panic(err)
		}
	}
	if p.addr == "" {
		p.addr = listener.Addr().String()
	}
	p.server = grpc.NewServer(grpc.ChainUnaryInterceptor(wirepb.UnaryServerErrors), grpc.ChainStreamInterceptor(wirepb.StreamServerErrors), grpc.MaxRecvMsgSize(maxMessageBytes))
	register(p.server)
	server := p.server
	p.serving.Go(func() { _ = server.Serve(listener) })
}

// stop breaks all connections at once.
func (p *process) stop() {
	p.server.Stop()
	p.serving.Wait()
}

// restart is a crash: every connection breaks, and the next one is served.
func (p *process) restart() {
	p.stop()
	p.start(p.register)
}

// takeIn takes in what a writer sends until that ends.
func (s fakeCompute) takeIn(stream wirepb.Compute_ShipServer) error {
	for {
		q, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for _, encoded := range q.Batches {
			b, _, err := storepb.DecodeBatch(encoded)
			if err != nil {
				return err
			}
			if err := s.node.meet(stream.Context(), func() error { return s.node.world.offer(s.node, b) }); err != nil {
				return err
			}
		}
	}
}
