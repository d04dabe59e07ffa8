package fanout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// cut makes a slice of some batches, as it would be read.
func cut(r *ring, list []pinetree.Batch) slice {
	s := slice{ring: r, part: part{from: list[0].Prev, to: list[len(list)-1].LSN}}
	for _, b := range list {
		s.piece = wirepb.AppendTailBatch(s.piece, b.Encoded)
		s.ends = append(s.ends, end{b.LSN, len(s.piece)})
	}
	s.message = wirepb.NewOutgoingTail([][]byte{s.piece}, 0)
	return s
}

func TestTheShelfGivesWhatFollowsWhereverSlicesWereCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var j journal
		for range rapid.IntRange(1, 30).Draw(t, "batches") {
			j.add(pinetree.LSN(rapid.Uint64Range(1, 5).Draw(t, "step")), rapid.IntRange(0, 500).Draw(t, "size"))
		}
		shelf, rings := shelf{limit: rapid.IntRange(0, 10_000).Draw(t, "limit")}, []*ring{{}, {}}
		for range rapid.IntRange(0, 10).Draw(t, "slices") {
			from := rapid.IntRange(0, len(j.batches)-1).Draw(t, "from")
			to := rapid.IntRange(from+1, len(j.batches)).Draw(t, "to")
			shelf.add(cut(rings[rapid.IntRange(0, 1).Draw(t, "ring")], j.batches[from:to]))
		}
		if rapid.IntRange(0, 4).Draw(t, "forget") == 0 {
			shelf.forget(rings[0])
		}
		size := 0
		for _, s := range shelf.slices {
			size += cap(s.piece)
		}
		if size != shelf.bytes || size > shelf.limit {
			t.Fatalf("%d bytes; it says %d, the limit is %d", size, shelf.bytes, shelf.limit)
		}
		for _, b := range j.batches {
			for at := b.Prev; at < b.LSN; at++ {
				applied := j.batches[rapid.IntRange(0, len(j.batches)-1).Draw(t, "applied")].LSN
				for _, q := range []Query{{Follow: true}, {Applied: applied}} {
					shelf.check(t, &j, rings[0], at, q)
					shelf.check(t, &j, rings[1], at, q)
				}
			}
		}
	})
}

// check compares what is found with what must be.
func (s *shelf) check(t *rapid.T, j *journal, r *ring, at pinetree.LSN, q Query) {
	next := slices.IndexFunc(j.batches, func(b pinetree.Batch) bool { return b.Prev == at && (q.Follow || b.LSN <= q.Applied) })
	held := next >= 0 && slices.ContainsFunc(s.slices, func(kept slice) bool {
		return kept.ring == r && kept.from <= at && at < kept.to
	})
	p, found := s.find(r, at, q)
	if found != held {
		t.Fatalf("after %s, %+v: found: %v, held: %v", at, q, found, held)
	}
	if !found {
		return
	}
	if p.from != at {
		t.Fatalf("begins at %s, want %s", p.from, at)
	}
	for i, b := range decoded(p.message) {
		if want := j.batches[next+i]; b.Prev != want.Prev || b.LSN != want.LSN || !q.Follow && b.LSN > q.Applied {
			t.Fatalf("batch %d after %s is (%s, %s], want (%s, %s]", i, at, b.Prev, b.LSN, want.Prev, want.LSN)
		}
		at = b.LSN
	}
	if p.to != at || p.from == at {
		t.Fatalf("says that it ends at %s; it ends at %s", p.to, at)
	}
}

// TestTailsThatBeginApartReadTheLogTogether opens tails that are behind at many
// places, while answers become smaller with each of them.
func TestTailsThatBeginApartReadTheLogTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := small()
		limits.ResponseBytes, limits.UntakenBytes = 512<<10, 16<<20
		s := newStore(t, limits)
		for range 1_000 {
			s.write(1, 10_000, 0)
		}
		random := rand.New(rand.NewPCG(7, 7))
		var all sync.WaitGroup
		var list []*reader
		for range 60 {
			r := &reader{store: s, query: Query{From: pinetree.LSN(random.IntN(100))}}
			list = append(list, r)
			all.Go(func() { r.run(t.Context(), func() pinetree.LSN { return 1 << 60 }) })
			time.Sleep(time.Duration(random.IntN(int(2 * time.Millisecond))))
		}
		all.Wait()
		for _, r := range list {
			if err := r.check(s.journal.end); err != nil {
				t.Error(err)
			}
		}
		stats, whole := s.replica.hub.Stats(), int64(1_000*10_000)
		if stats.Read > 3*whole || stats.CaughtUp < 50*whole {
			t.Errorf("60 tails were sent %d bytes, for which %d were read", stats.CaughtUp, stats.Read)
		}
	})
}

func TestReadersRestFromTheDisk(t *testing.T) {
	now := time.Unix(0, 0)
	p := newPace(Limits{MinCatchUpRate: 1 << 20, MaxCatchUpRate: 1 << 30})
	p.readFor(10*time.Millisecond, 1<<20, now)
	if due := p.reserve(1, now); due.Sub(now) != readRest*10*time.Millisecond {
		t.Errorf("after a reading of 10 ms the next may go on in %v", due.Sub(now))
	}
	now = now.Add(time.Minute)
	p.readFor(10*time.Second, 1<<20, now)
	if due := p.reserve(1, now); due.Sub(now) != time.Second {
		t.Errorf("a MiB took 10 s to read, and the next waits for %v: more than it takes at the least rate", due.Sub(now))
	}
}

// TestASlowDiskIsLeftToOthers reads a log that takes a millisecond a reading.
func TestASlowDiskIsLeftToOthers(t *testing.T) {
	for _, writes := range []bool{false, true} {
		t.Run(fmt.Sprintf("somebody writes %v", writes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limits := small()
				limits.ResponseBytes = minResponseBytes
				s := newStore(t, limits)
				for range 640 {
					s.write(1, 10_000, 0)
				}
				s.disk = time.Millisecond
				if !writes {
					time.Sleep(2 * quietAfter)
				}
				r, began := &reader{store: s}, time.Now()
				r.run(t.Context(), func() pinetree.LSN { return 1 << 60 })
				if err := r.check(s.journal.end); err != nil {
					t.Error(err)
				}
				busy, took := time.Duration(s.reads)*s.disk, time.Since(began)
				if writes && took < (readRest+1)*busy || !writes && took > busy {
					t.Errorf("%d readings of %v took %v", s.reads, s.disk, took)
				}
			})
		})
	}
}
