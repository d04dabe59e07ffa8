package fanout

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is a replica with one volume: an engine's log and the rings that it feeds.
type store struct {
	replica *Replica
	reads   int           // of the log
	disk    time.Duration // that each of them takes

	mu      sync.Mutex
	journal journal
	applied int // batches
	at      pinetree.VolumePosition
}

func newStore(t *testing.T, limits Limits) *store {
	h := NewHub(limits)
	t.Cleanup(h.Close)
	return &store{replica: h.Replica()}
}

func small() Limits {
	l := DefaultLimits()
	l.RingBytes, l.NodeBytes = 16<<10, 32<<10
	return l
}

// write commits a batch of about a size and, after a while, applies it.
func (s *store) write(step pinetree.LSN, size int, while time.Duration) {
	s.mu.Lock()
	b := s.journal.add(step, size)
	s.mu.Unlock()
	s.replica.Committed([]pinetree.Batch{b})
	time.Sleep(while)
	s.apply()
}

func (s *store) apply() {
	s.mu.Lock()
	s.applied = len(s.journal.batches)
	s.at.LSN = s.journal.end
	at := pinetree.Position{Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: s.at}}
	s.mu.Unlock()
	s.replica.Applied(at)
}

func (s *store) log(_ context.Context, from pinetree.LSN, fn func(pinetree.Batch) error) (pinetree.VolumePosition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	time.Sleep(s.disk)
	for _, b := range s.journal.batches[:s.applied] {
		if b.LSN <= from || b.LSN <= s.at.Truncated {
			continue
		}
		if err := fn(b); err != nil {
			return s.at, err
		}
	}
	return s.at, nil
}

// reader is one tail and what it was sent.
type reader struct {
	store *store
	query Query
	slow  func() // before each answer is taken

	mu  sync.Mutex
	got []pinetree.Batch
	err error
}

// count is how many batches have come.
func (r *reader) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

// run reads until the end, or until it has what is at an LSN.
func (r *reader) run(ctx context.Context, until func() pinetree.LSN) {
	t, err := r.store.replica.Open(1, 0)
	if err != nil {
		r.err = err
		return
	}
	defer t.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.store.mu.Lock()
	r.query.Applied = r.store.at.LSN
	r.store.mu.Unlock()
	r.err = t.Run(ctx, r.query, r.store.log, func(m *wirepb.OutgoingTail) error {
		if r.slow != nil {
			r.slow()
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, decoded(m)...)
		if r.got[len(r.got)-1].LSN >= until() {
			cancel()
		}
		return nil
	})
	if r.query.Follow && errors.Is(r.err, context.Canceled) {
		r.err = nil
	}
}

// check wants every batch above From, once and in order, up to an LSN.
func (r *reader) check(end pinetree.LSN) error {
	if r.err != nil {
		return r.err
	}
	var want []pinetree.Batch
	for _, b := range r.store.journal.batches {
		if b.LSN > r.query.From && b.LSN <= end {
			want = append(want, b)
		}
	}
	if len(r.got) != len(want) {
		return fmt.Errorf("from %s: %d batches, want %d up to %s", r.query.From, len(r.got), len(want), end)
	}
	for i := range want {
		if string(r.got[i].Encoded) != string(want[i].Encoded) {
			return fmt.Errorf("from %s: batch %d is (%s, %s], want (%s, %s]", r.query.From, i, r.got[i].Prev, r.got[i].LSN, want[i].Prev, want[i].LSN)
		}
	}
	return nil
}

// TestEveryTailGetsTheLogOnceAndInOrder lets readers of all kinds and speeds begin
// anywhere while the log grows.
func TestEveryTailGetsTheLogOnceAndInOrder(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			const writes, readers = 300, 60
			limits := small()
			if seed%2 == 0 {
				limits.CatchUps, limits.MinCatchUpRate, limits.MaxCatchUpRate = 1, 1<<20, 1<<20
			}
			s := newStore(t, limits)
			random := rand.New(rand.NewPCG(seed, 1))
			size := func() int {
				if random.IntN(50) == 0 {
					return 20_000 // more than a ring
				}
				return random.IntN(1_000)
			}
			for range random.IntN(100) {
				s.write(pinetree.LSN(1+random.Uint64N(9)), size(), 0)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			written := make(chan struct{})
			var last pinetree.LSN = 1 << 60
			end := func() pinetree.LSN {
				select {
				case <-written:
					return last
				default:
					return 1 << 60
				}
			}
			var list []*reader
			var all sync.WaitGroup
			start := func() {
				pauses := rand.New(rand.NewPCG(seed, uint64(len(list))))
				longest := []time.Duration{0, time.Millisecond, 30 * time.Millisecond, time.Second}[len(list)%4]
				r := &reader{store: s, slow: func() { time.Sleep(time.Duration(pauses.Int64N(int64(longest) + 1))) }}
				r.query = Query{From: pinetree.LSN(random.Uint64N(uint64(s.journal.end) + 1)), Follow: random.IntN(4) > 0}
				r.query.Committed = r.query.Follow && random.IntN(2) == 0
				list = append(list, r)
				all.Go(func() { r.run(ctx, end) })
			}
			for range writes {
				s.write(pinetree.LSN(1+random.Uint64N(9)), size(), time.Duration(random.Int64N(int64(5*time.Millisecond))))
				if len(list) < readers && random.IntN(3) == 0 {
					start()
				}
				time.Sleep(time.Duration(random.Int64N(int64(3 * time.Millisecond))))
			}
			// The readers that have everything up to here end with the next batch.
			last = s.journal.end + 1
			close(written)
			s.write(1, 1, 0)
			all.Wait()
			for i, r := range list {
				stop := s.journal.end
				if !r.query.Follow {
					stop = r.query.Applied
				}
				if err := r.check(stop); err != nil {
					t.Errorf("seed %d, reader %d (%+v): %v", seed, i, r.query, err)
				}
			}
		})
	}
}

// TestCommittedComesBeforeItIsReplayed lets the engine hang.
func TestCommittedComesBeforeItIsReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, small())
		s.write(10, 100, 0)
		ctx, cancel := context.WithCancel(t.Context())
		eager := &reader{store: s, query: Query{Follow: true, Committed: true}}
		plain := &reader{store: s, query: Query{Follow: true}}
		var all sync.WaitGroup
		forever := func() pinetree.LSN { return 1 << 60 }
		for _, r := range []*reader{eager, plain} {
			all.Go(func() { r.run(ctx, forever) })
		}
		synctest.Wait()
		s.replica.Committed([]pinetree.Batch{s.journal.add(10, 100)})
		time.Sleep(time.Second)
		synctest.Wait()
		if eager.count() != 2 || plain.count() != 1 {
			t.Errorf("the engine hangs: %d batches came as committed, %d as replayed; want 2 and 1", eager.count(), plain.count())
		}
		s.apply()
		time.Sleep(time.Second)
		synctest.Wait()
		if eager.count() != 2 || plain.count() != 2 {
			t.Errorf("replayed: %d batches came as committed, %d as replayed; want 2 of each", eager.count(), plain.count())
		}
		cancel()
		all.Wait()
	})
}

// TestTailsGiveWayOnlyToThoseWhoWrite reads a log while something is committed now
// and then, and when nothing is any more.
func TestTailsGiveWayOnlyToThoseWhoWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := small()
		limits.MinCatchUpRate, limits.MaxCatchUpRate, limits.ResponseBytes = 1<<20, 1<<20, minResponseBytes
		s := newStore(t, limits)
		for range 1024 {
			s.write(1, 10<<10, 0)
		}
		read := func() time.Duration {
			began := time.Now()
			r := &reader{store: s}
			r.run(t.Context(), func() pinetree.LSN { return 1 << 60 })
			if err := r.check(s.journal.end); err != nil {
				t.Error(err)
			}
			return time.Since(began)
		}
		time.Sleep(2 * quietAfter)
		if took := read(); took > 10*time.Millisecond {
			t.Errorf("10 MiB took %v though nobody wrote", took)
		}
		s.write(1, 10, 0)
		// The first second of the ten that it would take.
		if took := read(); took < quietAfter/2 || took > 2*quietAfter {
			t.Errorf("10 MiB at 1 MiB/s took %v, beside one who wrote for the last time when it began", took)
		}
	})
}

// TestTailsInARingReadNoDisk counts the reads of the engine's log.
func TestTailsInARingReadNoDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := DefaultLimits()
		limits.ResponseBytes = limits.response(200) // whenever they are opened
		s := newStore(t, limits)
		for range 100 {
			s.write(1, 10_000, 0)
		}
		var end pinetree.LSN = 400
		var all sync.WaitGroup
		var list []*reader
		for range 200 {
			r := &reader{store: s, query: Query{Follow: true}}
			list = append(list, r)
			all.Go(func() { r.run(t.Context(), func() pinetree.LSN { return end }) })
		}
		// All get what there was, 200 MB at the pace of those who are behind.
		for began := time.Now(); slices.ContainsFunc(list, func(r *reader) bool { return r.count() < 100 }); time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > 10*time.Second {
				t.Fatal("after 10 s some tails are still behind")
			}
		}
		before := s.reads
		for range 300 {
			s.write(1, 1_000, time.Millisecond)
		}
		all.Wait()
		for _, r := range list {
			if err := r.check(end); err != nil {
				t.Error(err)
			}
		}
		if before > 10 || s.reads != before {
			t.Errorf("200 tails that began at one place read the log %d times, and %d times while they were live", before, s.reads-before)
		}
	})
}

// TestASlowClientHoldsOneAnswer lets clients take nothing while the log grows to
// many times the ring, measures the memory, and lets them go on.
func TestASlowClientHoldsOneAnswer(t *testing.T) {
	limits := DefaultLimits()
	limits.RingBytes, limits.NodeBytes = 2<<20, 4<<20
	limits.MinCatchUpRate, limits.MaxCatchUpRate = 2<<30, 2<<30
	s := newStore(t, limits)
	const clients, written = 50, 400
	stuck, goOn := make(chan struct{}, clients*written), make(chan struct{})
	var all sync.WaitGroup
	var list []*reader
	s.write(1, 1_000, 0)
	for range clients {
		r := &reader{store: s, query: Query{Follow: true}, slow: func() { stuck <- struct{}{}; <-goOn }}
		list = append(list, r)
		all.Go(func() { r.run(t.Context(), func() pinetree.LSN { return written }) })
	}
	for range clients {
		<-stuck
	}
	before := heap()
	logged := 0
	for range written - 1 {
		s.write(1, 49_000, 0)
		logged += 48 << 10 // as memory is given out
	}
	// The journal is not the tails'.
	kept := heap() - before - uint64(logged)
	t.Logf("%d KB for %d clients that took nothing of %d MB", kept>>10, clients, logged>>20)
	if limit := uint64(limits.RingBytes + limits.ResponseBytes); kept > limit {
		t.Errorf("%d clients that took nothing hold %d KB", clients, kept>>10)
	}
	close(goOn)
	all.Wait()
	for _, r := range list {
		if err := r.check(s.journal.end); err != nil {
			t.Error(err)
		}
	}
}

// heap is the memory in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
