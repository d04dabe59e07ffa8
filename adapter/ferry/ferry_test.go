package ferry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// TestAnAnswerIsNotOlderThanItsRead has many read a number that only rises: what a
// read returns is at least what the number was when the read began.
func TestAnAnswerIsNotOlderThanItsRead(t *testing.T) {
	for _, calls := range []int{1, 2} {
		h := newHarbour(t, Gathering{Calls: calls})
		h.ways.Alone = func(_ context.Context, _ string, what int) (int64, error) {
			h.alone.Add(1)
			state := h.state.Load()
			time.Sleep(time.Duration(rand.IntN(50)) * time.Microsecond)
			return h.read(what, state)
		}
		h.ways.Together = func(_ context.Context, _ string, what []int) ([]Outcome[int64], error) {
			h.together.Add(1)
			state := h.state.Load()
			time.Sleep(time.Duration(rand.IntN(50)) * time.Microsecond)
			all := make([]Outcome[int64], len(what))
			for i := range all {
				all[i].Answer = state*1000 + int64(what[i])
			}
			return all, nil
		}
		var reading sync.WaitGroup
		for i := range 16 {
			reading.Go(func() {
				for range 40 {
					began := h.state.Add(1)
					what := i % 4 // several read the same
					got, err := h.Read(t.Context(), "k", what)
					if err != nil || got%1000 != int64(what) || got/1000 < began {
						t.Errorf("read of %d that began at %d: %d, %v", what, began, got, err)
						return
					}
				}
			})
		}
		reading.Wait()
		if h.together.Load() == 0 {
			t.Error("no two reads shared a call, so this shows nothing")
		}
		t.Logf("%d calls for one read, %d for several", h.alone.Load(), h.together.Load())
	}
}

func TestReadsThatComeWhileACallIsUnderWayGoTogether(t *testing.T) {
	h := newHarbour(t, Gathering{Calls: 1})
	first, alone := h.busy(t)
	ended := h.begin(t, t.Context(), 1, -2, 3)
	h.state.Store(7)
	close(first.open)
	if r := get(t, alone); r.answer != 7000 || r.err != nil {
		t.Errorf("the first read: %+v", r)
	}
	second := h.next(t)
	if fmt.Sprint(second.reads) != "[1 -2 3]" {
		t.Fatalf("the second call reads %v", second.reads)
	}
	close(second.open)
	for range 3 {
		r := get(t, ended)
		if r.what < 0 && !errors.Is(r.err, errNotThere) || r.what > 0 && (r.err != nil || r.answer != 7000+int64(r.what)) {
			t.Errorf("%+v", r)
		}
	}
}

func TestReadsOfOtherKindsDoNotWait(t *testing.T) {
	h := newHarbour(t, Gathering{Calls: 1})
	first, alone := h.busy(t)
	other := make(chan result, 1)
	go func() {
		answer, err := h.Read(t.Context(), "other", 5)
		other <- result{5, answer, err}
	}()
	close(h.next(t).open)
	if r := get(t, other); r.answer != 5 || r.err != nil {
		t.Errorf("%+v", r)
	}
	close(first.open)
	get(t, alone)
}

func TestWhoLeavesHarmsNobody(t *testing.T) {
	h := newHarbour(t, Gathering{Calls: 1})
	first, alone := h.busy(t)
	ctx, leave := context.WithCancel(t.Context())
	staying := h.begin(t, t.Context(), 1)
	leaving := h.begin(t, ctx, 2, 3)
	waits, giveUp := context.WithCancel(t.Context())
	never := h.begin(t, waits, 4)
	giveUp()
	if r := get(t, never); !errors.Is(r.err, context.Canceled) || r.err.Error() != "read 4: context canceled" {
		t.Errorf("the one that left the line: %+v", r)
	}
	close(first.open)
	get(t, alone)
	second := h.next(t)
	if fmt.Sprint(second.reads) != "[1 2 3]" {
		t.Fatalf("the second call reads %v", second.reads)
	}
	leave()
	for range 2 {
		if r := get(t, leaving); !errors.Is(r.err, context.Canceled) {
			t.Errorf("one that left the call: %+v", r)
		}
	}
	if second.ctx.Err() != nil {
		t.Error("the call ended with those that left it")
	}
	close(second.open)
	if r := get(t, staying); r.answer != 1 || r.err != nil {
		t.Errorf("the one that stayed: %+v", r)
	}
}

// TestACallEndsWhenNobodyWaitsForIt has the next read find a way that is free.
func TestACallEndsWhenNobodyWaitsForIt(t *testing.T) {
	h := newHarbour(t, Gathering{Calls: 1})
	first, alone := h.busy(t)
	ctx, leave := context.WithCancel(t.Context())
	leaving := h.begin(t, ctx, 2, 3)
	close(first.open)
	get(t, alone)
	second := h.next(t)
	leave()
	for range 2 {
		get(t, leaving)
	}
	get(t, second.ctx.Done())
	h.await(t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.lines["k"].idle()
	})
}

// TestWhoLeavesWhenItIsToGoAloneLetsOthersGo leaves at the very moment: told to go,
// and not gone yet.
func TestWhoLeavesWhenItIsToGoAloneLetsOthersGo(t *testing.T) {
	h := newHarbour(t, Gathering{Calls: 1})
	first, alone := h.busy(t)
	p := h.arrive("k", 1)
	close(first.open)
	get(t, alone)
	if !get(t, p.told).alone {
		t.Fatal("the only one that waited was not told to go alone")
	}
	h.leave("k", p)
	if q := h.lines["k"]; !q.idle() {
		t.Errorf("%d calls are under way for ever", q.underWay)
	}
}

func TestACallThatFailsIsMadeAgainByEach(t *testing.T) {
	for name, spoil := range map[string]func(*harbour) (alone int64){
		"it fails":             func(h *harbour) int64 { h.fail = errors.New("no leader"); return 4 },
		"it answers to one":    func(h *harbour) int64 { h.short = 2; return 3 },
		"no call may be begun": func(h *harbour) int64 { h.close(); return 4 },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarbour(t, Gathering{Calls: 1})
			want := spoil(h)
			first, alone := h.busy(t)
			ended := h.begin(t, t.Context(), 1, -2, 3)
			opening := sync.WaitGroup{}
			opening.Go(func() {
				for {
					select {
					case c := <-h.calls:
						close(c.open)
					case <-t.Context().Done():
						return
					}
				}
			})
			t.Cleanup(opening.Wait)
			close(first.open)
			get(t, alone)
			for range 3 {
				r := get(t, ended)
				if r.what < 0 && !errors.Is(r.err, errNotThere) || r.what > 0 && (r.err != nil || r.answer != int64(r.what)) {
					t.Errorf("%+v", r)
				}
			}
			if n := h.alone.Load(); n != want {
				t.Errorf("%d reads were made alone, want %d", n, want)
			}
		})
	}
}

// TestACallThatHangsHoldsNobodyUp never lets the first call go on.
func TestACallThatHangsHoldsNobodyUp(t *testing.T) {
	h := newHarbour(t, Gathering{Calls: 1})
	h.patience = usualPatience
	first, alone := h.busy(t)
	began := time.Now()
	ended := make(chan result, 1)
	go func() {
		answer, err := h.Read(t.Context(), "k", 1)
		ended <- result{1, answer, err}
	}()
	second := h.next(t)
	if waited := time.Since(began); waited < usualPatience || second.reads[0] != 1 {
		t.Errorf("%v went after %v", second.reads, waited)
	}
	close(second.open)
	if r := get(t, ended); r.err != nil {
		t.Errorf("%+v", r)
	}
	close(first.open)
	get(t, alone)
}

func TestOffMakesEveryReadACallOfItsOwn(t *testing.T) {
	h := newHarbour(t, Gathering{Off: true})
	h.calls = make(chan call)
	ended := make(chan result, 5)
	for i := range 5 {
		go func() {
			answer, err := h.Read(t.Context(), "k", i)
			ended <- result{i, answer, err}
		}()
	}
	var held []call
	for range 5 {
		held = append(held, h.next(t))
	}
	for _, c := range held {
		close(c.open)
		get(t, ended)
	}
	if h.alone.Load() != 5 || h.together.Load() != 0 {
		t.Errorf("%d alone, %d together", h.alone.Load(), h.together.Load())
	}
}

func TestLinesThatNobodyUsesAreForgotten(t *testing.T) {
	h := newHarbour(t, Gathering{Calls: 1})
	for i := range 10 * keepLines {
		if _, err := h.Read(t.Context(), fmt.Sprint(i), 1); err != nil {
			t.Fatal(err)
		}
	}
	if len(h.lines) > keepLines+1 {
		t.Errorf("%d lines are kept", len(h.lines))
	}
}
