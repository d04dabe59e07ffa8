package fanout

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinetree-db/pinetree"
)

func TestRestsBecomeLongerWhenOthersWait(t *testing.T) {
	r := rests{share: minShare}
	if got := r.after(time.Millisecond, 1); got != minShare*time.Millisecond {
		t.Errorf("%v after a millisecond", got)
	}
	for range 4 {
		r.woke(2 * lateAfter)
	}
	if got := r.after(time.Millisecond, 1); got != maxShare*time.Millisecond {
		t.Errorf("%v after a millisecond when woken late", got)
	}
	for took, want := range map[time.Duration]time.Duration{
		10 * time.Millisecond: maxRest, 100 * time.Millisecond: minShare * 100 * time.Millisecond, time.Second: longestRest,
	} {
		for groups := 1; groups <= 10; groups *= 10 {
			each := took / time.Duration(groups)
			if got := r.after(each, groups) * time.Duration(groups); got != want {
				t.Errorf("%v together after %d groups that took %v each, want %v", got, groups, each, want)
			}
		}
	}
	for range maxShare {
		r.woke(lateAfter)
	}
	if r.share != minShare {
		t.Errorf("%d times as long when nobody is late", r.share)
	}
}

// TestTailsAreCalledFewAtATime has a hundred tails wait for one batch. Whoever else
// needs a processor stands in line behind one group of them, not behind all.
func TestTailsAreCalledFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const took = 100 * time.Microsecond
		s := newStore(t, small())
		s.write(1, 10, 0)
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		sent := map[time.Duration]int{}
		var began time.Time
		slow := func() {
			mu.Lock()
			sent[time.Since(began)]++
			mu.Unlock()
			time.Sleep(took)
		}
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				r := &reader{store: s, query: Query{From: 1, Follow: true}, slow: slow}
				r.run(ctx, func() pinetree.LSN { return 1 << 60 })
			})
		}
		time.Sleep(time.Second)
		synctest.Wait()
		began = time.Now()
		s.write(1, 10, 0)
		time.Sleep(time.Second)
		synctest.Wait()
		var last time.Duration
		for i, at := range slices.Sorted(maps.Keys(sent)) {
			if n := sent[at]; n > groupTails {
				t.Errorf("%d tails were called at once", n)
			}
			if rest := at - last - took; i > 0 && rest < minShare*took {
				t.Errorf("after a call of %v the next one came after %v", took, rest)
			}
			last = at
		}
		if most := 100 / groupTails * (minShare + 1) * took; last > most {
			t.Errorf("the last tail was called after %v, want %v at most", last, most)
		}
		cancel()
		all.Wait()
	})
}

// TestWhatComesDuringACallIsNotForgotten lets a client be slow while another one
// waits again, and nothing comes after that.
func TestWhatComesDuringACallIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, small())
		s.write(1, 10, 0)
		ctx, cancel := context.WithCancel(t.Context())
		quick := &reader{store: s, query: Query{Follow: true}}
		slow := &reader{store: s, query: Query{Follow: true}, slow: func() { time.Sleep(groupWait / 2) }}
		var all sync.WaitGroup
		for _, r := range []*reader{quick, slow} {
			all.Go(func() { r.run(ctx, func() pinetree.LSN { return 1 << 60 }) })
		}
		time.Sleep(time.Second)
		synctest.Wait()
		s.write(1, 10, groupWait/4) // begins a call
		synctest.Wait()
		if quick.count() != 2 || slow.count() != 1 {
			t.Fatalf("%d and %d batches in the middle of the call", quick.count(), slow.count())
		}
		s.write(1, 10, 0)
		time.Sleep(time.Second)
		synctest.Wait()
		if quick.count() != 3 || slow.count() != 3 {
			t.Errorf("%d and %d batches after it, want 3", quick.count(), slow.count())
		}
		cancel()
		all.Wait()
	})
}
