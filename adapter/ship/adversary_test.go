package ship

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
)

var (
	seeds    = flag.Int("seeds", 12, "how many histories the adversary plays")
	firstOne = flag.Uint64("seed", 1, "the first seed")
)

// TestAdversary ships while a seeded adversary holds back, loses and repeats
// what is in raft's hands, drops connections, kills, freezes and replaces
// leaders behind their back, takes the managers away and refuses batches. Then
// a second writer fences the first. Whatever was acknowledged must be in the
// log, once and in order, and every append must end in a known outcome that is
// true.
//
// The choices follow from the seed; how they meet the goroutines does not.
// Repeat one with -run TestAdversary -seed N -seeds 1.
func TestAdversary(t *testing.T) {
	for seed := *firstOne; seed < *firstOne+uint64(*seeds); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { playAdversary(t, rand.New(rand.NewPCG(seed, 42))) })
	}
}

func playAdversary(t *testing.T, rng *rand.Rand) {
	w := newWorld(t)
	w.managers = append(w.managers, &fakeManager{world: w})
	w.managers[1].start(w.managers[1].serve)
	w.hold = true
	var mu sync.Mutex
	var falseAcks []pinetree.LSN
	ctx := within(t)
	writer, err := w.dial(nil).OpenWriter(ctx, WriterConfig{
		StallAfter: 60 * time.Millisecond, BatchBytes: 2000, WindowBytes: 20_000, SmallBatches: 3,
		Acked: func(a Acked) {
			if !w.holds(a.LSN) {
				mu.Lock()
				defer mu.Unlock()
				falseAcks = append(falseAcks, a.LSN)
			}
		},
	})
	must(t, err)

	s := &source{}
	appended := make(chan error, 1)
	stop := make(chan struct{})
	appends := rand.New(rand.NewPCG(rng.Uint64(), 1))
	go func() {
		for {
			select {
			case <-stop:
				appended <- nil
				return
			default:
			}
			var records []pinetree.Record
			for range 1 + appends.IntN(4) {
				records = append(records, s.next(appends.IntN(800)))
			}
			if err := writer.Append(ctx, records...); err != nil {
				appended <- err
				return
			}
			if appends.IntN(20) == 0 {
				time.Sleep(time.Duration(appends.IntN(3)) * time.Millisecond)
			}
		}
	}()
	for range 150 {
		disturb(w, rng)
		time.Sleep(time.Duration(rng.IntN(4)) * time.Millisecond)
	}
	heal(w)
	close(stop)
	must(t, <-appended)
	must(t, writer.Flush(ctx))
	same(t, w.records(), s.made)
	checkFence(t, w, writer, s, rng)
	if len(falseAcks) > 0 {
		t.Errorf("acknowledged and not in the log: %v", falseAcks)
	}
}

// disturb does one thing to the world.
func disturb(w *world, rng *rand.Rand) {
	node := w.nodes[rng.IntN(len(w.nodes))]
	switch rng.IntN(16) {
	case 0, 1, 2, 3, 4, 5:
		w.change(func() { w.commit(rng.IntN(len(w.inRaft) + 1)) })
	case 6:
		w.change(func() { w.elect(node.id, rng.IntN(len(w.inRaft)+1)) })
	case 7:
		w.change(func() { w.elect(0, rng.IntN(len(w.inRaft)+1)) })
	case 8:
		w.change(w.reset)
	case 9:
		node.restart()
	case 10:
		w.change(func() {
			if old := w.leader; old != 0 {
				w.nodes[old-1].zombie, w.nodes[old-1].zombieAt = true, w.at.LSN
				w.elect(old%3+1, rng.IntN(len(w.inRaft)+1))
				w.nodes[w.leader-1].zombie = false
			}
		})
	case 11:
		w.change(func() { node.frozen = !node.frozen })
	case 12:
		w.change(func() {
			w.refuse = append(w.refuse, []error{pinetree.ErrQueueFull, pinetree.ErrDiskFull, pinetree.ErrStopped, &pinetree.CorruptError{}}[rng.IntN(4)])
		})
	case 13:
		w.change(func() { w.silent = !w.silent })
	case 14:
		w.managers[rng.IntN(2)].restart()
	case 15:
		w.change(func() { w.managers[rng.IntN(2)].behind = pinetree.NodeID(rng.IntN(4)) })
	}
}

// heal ends every fault; leadership settles on some node.
func heal(w *world) {
	w.change(func() {
		for _, n := range w.nodes {
			n.frozen, n.zombie = false, false
		}
		for _, m := range w.managers {
			m.behind = 0
		}
		w.hold, w.silent, w.refuse = false, false, nil
		if w.leader == 0 {
			w.elect(2, 0)
		}
		w.commit(len(w.inRaft))
		w.epoch++ // streams that began at a zombie end
	})
}

// checkFence has a second writer open while the first one has batches in
// flight, and asks what became of each append.
func checkFence(t *testing.T, w *world, old *Writer, s *source, rng *rand.Rand) {
	t.Helper()
	ctx := within(t)
	w.change(func() { w.hold, w.silent = true, true })
	from := len(s.made)
	for range 30 {
		must(t, old.Append(ctx, s.next(400)))
	}
	w.await("batches in flight", func() bool { return len(w.inRaft) > 1 })
	w.change(func() { w.elect(w.leader, rng.IntN(len(w.inRaft)+1)) })
	next := w.open(WriterConfig{})
	end := next.Durable()
	must(t, next.Append(ctx, pinetree.Record{Prev: end, LSN: end + 100_000}))
	w.change(func() { w.hold, w.silent = false, false; w.commit(len(w.inRaft)) })
	must(t, next.Flush(ctx))
	if err := old.Flush(ctx); err == nil && end < s.at {
		t.Fatal("a fenced writer was told that its last append is durable")
	}
	if old.Durable() != end {
		t.Errorf("the fenced writer counts its log durable up to %s, it is up to %s", old.Durable(), end)
	}
	for _, r := range s.made[from:] {
		want := adapter.Committed
		if r.LSN > end {
			want = adapter.Rejected
		}
		if got, err := old.Resolve(ctx, r.LSN); err != nil || got.Outcome != want {
			t.Errorf("what became of %s: %+v, %v; want %s", r.LSN, got, err, want)
		}
	}
}
