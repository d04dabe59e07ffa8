package metaclient

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const worldVolume = 7

// world is a manager and three nodes, of which one leads, with one table. What it
// does wrong, tests say.
type world struct {
	wirepb.UnimplementedManagerServer
	manager string
	nodes   []*fakeNode

	mu     sync.Mutex
	random *rand.Rand
	leader int // index of a node
	index  pinetree.RaftIndex
	tables []*meta.Table // all there ever were; a node has replayed some of them
	// lose is how often in a hundred an answer is lost, before or after the
	// transaction was carried out, or a watch breaks.
	lose int
	// spoil changes an answer of a watch.
	spoil func(*wirepb.MetaWatchResponse)
	hang  int // index of the node whose watches say nothing, or -1
	spoke int // index of the node whose watch said something last
}

// fakeNode is one of the nodes.
type fakeNode struct {
	wirepb.UnimplementedMetaServer
	world   *world
	number  int
	address string
	behind  int // tables that it has not replayed; the world's
}

func startWorld(t *testing.T) *world {
	t.Helper()
	w := &world{random: rand.New(rand.NewPCG(1, 2)), tables: []*meta.Table{meta.Empty()}, hang: -1}
	serve := func(register func(*grpc.Server)) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := grpc.NewServer(grpc.UnaryInterceptor(wirepb.UnaryServerErrors), grpc.StreamInterceptor(wirepb.StreamServerErrors))
		register(s)
		served := make(chan struct{})
		go func() { defer close(served); _ = s.Serve(l) }() // ends with Stop
		t.Cleanup(func() { s.Stop(); <-served })
		return l.Addr().String()
	}
	w.manager = serve(func(s *grpc.Server) { wirepb.RegisterManagerServer(s, w) })
	for n := range 3 {
		node := &fakeNode{world: w, number: n}
		node.address = serve(func(s *grpc.Server) { wirepb.RegisterMetaServer(s, node) })
		w.nodes = append(w.nodes, node)
	}
	return w
}

func (w *world) set(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

func (w *world) newest() *meta.Table { return w.tables[len(w.tables)-1] }

// client is a ship client of the world's volume.
func (w *world) client(t *testing.T) *ship.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := ship.Dial(ctx, ship.Config{Managers: []string{w.manager}, ID: worldVolume, AttemptTimeout: 500 * time.Millisecond, RetryFor: 5 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Route implements wirepb.ManagerServer.
func (w *world) Route(_ context.Context, q *wirepb.RouteRequest) (*wirepb.RouteResponse, error) {
	if q.Volume != worldVolume || q.VolumeName != "" {
		return nil, pinetree.ErrUnknownVolume
	}
	r := &wirepb.RouteResponse{Volume: &wirepb.VolumeInfo{Volume: worldVolume, Group: 1}}
	w.mu.Lock()
	defer w.mu.Unlock()
	r.Leader = uint64(w.leader + 1)
	for n, node := range w.nodes {
		r.Replicas = append(r.Replicas, &wirepb.NodeInfo{Node: uint64(n + 1), Address: node.address})
	}
	return r, nil
}

// breaks tells, by chance, that something is lost.
func (w *world) breaks() error {
	if w.random.IntN(100) < w.lose {
		return status.Error(codes.Unavailable, "the connection is gone")
	}
	return nil
}

// leads refuses what only the leader may do.
func (n *fakeNode) leads() error {
	if n.number != n.world.leader {
		return &pinetree.NotLeaderError{Group: 1, Leader: pinetree.NodeID(n.world.leader + 1)}
	}
	return nil
}

// MetaRange reads the newest table at every level.
func (n *fakeNode) MetaRange(_ context.Context, q *wirepb.MetaRangeRequest) (*wirepb.MetaRangeResponse, error) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	if q.Options.GetLevel() == wirepb.ReadLevel_DEFAULT {
		if err := n.leads(); err != nil {
			return nil, err
		}
	}
	read, err := n.world.newest().Range(meta.RangeSpec{
		Span: meta.Span{Key: q.Key, End: q.End}, Revision: pinetree.MetaRevision(q.Revision), Limit: int(min(max(q.Limit, 1), 2)),
	})
	r := &wirepb.MetaRangeResponse{Served: &wirepb.Served{Node: uint64(n.number + 1)}, Revision: uint64(read.Revision), More: read.More}
	for _, item := range read.Items {
		r.Items = append(r.Items, &wirepb.MetaItem{Key: item.Key, Value: item.Value, Modified: uint64(item.Modified)})
	}
	return r, err
}

// MetaTxn puts, as the only op that the tests use.
func (n *fakeNode) MetaTxn(_ context.Context, q *wirepb.MetaTxnRequest) (*wirepb.MetaTxnResponse, error) {
	w := n.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := n.leads(); err != nil {
		return nil, err
	}
	if err := w.breaks(); err != nil {
		return nil, err
	}
	txn := meta.Txn{ID: q.Id, Since: pinetree.MetaRevision(q.Since)}
	for _, op := range q.Then {
		txn.Then = append(txn.Then, meta.Op{Kind: meta.OpPut, Span: meta.Span{Key: op.GetPut().GetKey()}, Value: op.GetPut().GetValue()})
	}
	result, err := w.carryOut(txn)
	if err != nil {
		return nil, err
	}
	if err := w.breaks(); err != nil {
		return nil, err
	}
	return &wirepb.MetaTxnResponse{Succeeded: result.Succeeded, Revision: uint64(result.Revision), Results: make([]*wirepb.MetaOpResult, len(result.Ops))}, nil
}

// carryOut makes the next table. The caller holds mu.
func (w *world) carryOut(txn meta.Txn) (meta.Result, error) {
	w.index++
	d, result, err := meta.Evaluate(w.newest(), meta.Proposal{Txn: txn, Index: w.index})
	if err != nil {
		return result, err
	}
	next, _, err := w.newest().Advance(d)
	if err == nil && next.Revision() > w.newest().Revision() {
		w.tables = append(w.tables, next)
	}
	return result, err
}

// MetaWatch tells what the node has replayed, one revision at a time.
func (n *fakeNode) MetaWatch(q *wirepb.MetaWatchRequest, stream wirepb.Meta_MetaWatchServer) error {
	w, span := n.world, meta.Span{Key: q.Key, End: q.End}
	told := time.Now()
	for at := pinetree.MetaRevision(q.After); stream.Context().Err() == nil; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		table := w.tables[max(0, len(w.tables)-1-n.behind)]
		changes, through, err := table.Since(at, 1)
		broken, silent, spoil := w.breaks(), w.hang == n.number, w.spoil
		w.mu.Unlock()
		switch {
		case err != nil:
			return err
		case broken != nil:
			return broken
		case silent, through == at && time.Since(told) < 20*time.Millisecond:
			continue
		}
		r := &wirepb.MetaWatchResponse{Revision: uint64(through)}
		for _, c := range changes {
			if span.Contains(c.Key) {
				r.Events = append(r.Events, &wirepb.MetaEvent{Deleted: c.Deleted, Item: &wirepb.MetaItem{Key: c.Key, Value: c.Value, Modified: uint64(c.Modified)}})
			}
		}
		if spoil != nil {
			spoil(r)
		}
		w.set(func() { w.spoke = n.number })
		if err := stream.Send(r); err != nil {
			return err
		}
		at, told = through, time.Now()
	}
	return stream.Context().Err()
}
