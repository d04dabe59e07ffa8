package e2e

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// reading is a client that reads.
type reading struct {
	id    int
	by    *ship.Reader
	pages bool // reads pages instead of keys
}

// value is what the key or the page of an access has.
func (r reading) value(ctx context.Context, in access) (string, ship.Served, error) {
	if r.pages {
		got, err := r.by.Page(ctx, in.page)
		return string(got.Page), got.Served, err
	}
	got, err := r.by.Key(ctx, []byte(in.key))
	return string(got.Value), got.Served, err
}

// read gets random keys or pages until ctx ends.
func (h *history) read(ctx context.Context, r reading) {
	random := rand.New(rand.NewPCG(h.seed(), uint64(r.id)))
	for ctx.Err() == nil {
		h.readOnce(ctx, r, random)
		time.Sleep(time.Duration(random.IntN(2000)) * time.Microsecond)
	}
}

// readOnce gets a random key and tells whether it was answered. What fails was
// never seen.
func (h *history) readOnce(ctx context.Context, r reading, random *rand.Rand) bool {
	in := h.begin(random)
	call := h.now()
	limit, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	value, served, err := r.value(limit, in)
	if err != nil && !errors.Is(err, pinetree.ErrNotFound) {
		h.end(in, nil)
		return false
	}
	h.end(in, &porcupine.Operation{ClientId: r.id, Input: in, Call: call, Output: value, Return: h.now()})
	h.answered(served.Level)
	return true
}

// everyReader reads a volume in all ways that are promised to be linearizable. It
// returns a count of the calls in which several reads of pages went together.
func (c *cluster) everyReader(ctx context.Context, h *history, volume string, wait *sync.WaitGroup) *atomic.Int64 {
	c.t.Helper()
	reader := c.client(volume)
	for id := 1; id <= 8; id++ {
		cfg := ship.ReadConfig{Level: pinetree.ReadDefault}
		switch {
		case id <= 3: // also of a leader that is none any more
			cfg.Node = pinetree.NodeID(id)
		case id <= 6:
			cfg = ship.ReadConfig{Level: pinetree.ReadConsistent, Node: pinetree.NodeID(id - 3)}
		}
		wait.Go(func() { h.read(ctx, reading{id: id, by: reader.Reader(cfg)}) })
	}
	var together atomic.Int64
	count := func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		stream, err := open(ctx, desc, conn, method, opts...)
		return countingStream{stream, &together}, err
	}
	sharing := c.clientWith(volume, func(cfg *ship.Config) {
		cfg.Gather.Calls = 1 // so that these few share calls often
		cfg.Dial = append(cfg.Dial, grpc.WithChainStreamInterceptor(count))
	})
	for id := 9; id <= 14; id++ {
		cfg := ship.ReadConfig{Level: pinetree.ReadDefault}
		if id >= 12 {
			cfg.Level = pinetree.ReadConsistent
		}
		wait.Go(func() { h.read(ctx, reading{id: id, by: sharing.Reader(cfg), pages: true}) })
	}
	return &together
}

// countingStream counts the answers with several pages.
type countingStream struct {
	grpc.ClientStream
	pages *atomic.Int64
}

// RecvMsg is ClientStream's.
func (s countingStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if answer, ok := m.(*wirepb.Answer); ok && err == nil && answer.GetPages() != nil {
		s.pages.Add(1)
	}
	return err
}

// minutes is how long the mixed load runs, as PINETREE_E2E_MINUTES says.
func minutes(t *testing.T) time.Duration {
	t.Helper()
	length := 10 * time.Second
	if full() {
		length = 30 * time.Minute
	}
	if said := os.Getenv("PINETREE_E2E_MINUTES"); said != "" {
		n, err := strconv.ParseFloat(said, 64)
		if err != nil || n <= 0 {
			t.Fatalf("PINETREE_E2E_MINUTES is %q, not a number of minutes", said)
		}
		length = time.Duration(n * float64(time.Minute))
	}
	return length
}

// TestReadsAreLinearizable checks default and consistent reads against writes, and
// stale ones against their bounds, while nodes are killed, paused, cut off in both
// directions or in one, the leader moves, replicas are replaced, the manager is
// killed, and clocks run as fast and as slowly as they may.
func TestReadsAreLinearizable(t *testing.T) {
	beside(t)
	length := minutes(t)
	c := emptyCluster(t)
	c.rates = []float64{1 + drift, 1 - drift, 1 + drift, 1 - drift, 1 + drift}
	c.fill(3)
	volume := c.createVolume("keys", pinetree.FormatRedo)
	c.addNode()
	h := newHistory()
	t.Logf("seed %d", h.seed())
	w, err := c.client("keys").OpenWriter(c.within(20*time.Second), ship.WriterConfig{RetryFor: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	var wait sync.WaitGroup
	var wrote error
	wait.Go(func() { wrote = h.write(ctx, w) })
	together := c.everyReader(ctx, h, "keys", &wait)
	stale := &staleReads{h: h, volume: volume.Volume, random: rand.New(rand.NewPCG(h.seed(), 9))}
	for _, n := range c.nodes {
		stale.nodes = append(stale.nodes, c.reads(n))
	}
	wait.Go(func() { stale.run(ctx) })
	wait.Go(func() {
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Second):
				h.next(t)
			}
		}
	})
	done := c.trouble(ctx, rand.New(rand.NewPCG(h.seed(), 7)), volume.Group)
	wait.Wait()
	if wrote != nil {
		t.Fatalf("the writer ended: %v", wrote)
	}
	h.finish(t)
	t.Logf("%d operations, reads by level: %v; %d calls for several pages; %d stale reads, %d with a bound in time, %d with a least LSN; faults: %v",
		h.count, h.level, together.Load(), stale.answered, stale.bounded, stale.minimal, done)
	if h.level[pinetree.ReadDefault] == 0 || h.level[pinetree.ReadConsistent] == 0 || together.Load() == 0 || stale.bounded == 0 || stale.minimal == 0 {
		t.Error("a kind of read was never answered, so this run shows nothing of it")
	}
	for _, wrong := range stale.wrong {
		t.Error(wrong)
	}
}
