package quota

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestHeavyReadsOfOneVolumeTakeTurnsAndNobodyElseWaits: however many read, a few
// run, each gets its turn, who gives up leaves no hole, and nothing is remembered.
func TestHeavyReadsOfOneVolumeTakeTurnsAndNobodyElseWaits(t *testing.T) {
	k := NewKeeper()
	most := int64(heavyPerProcessor * runtime.GOMAXPROCS(0))
	var ends []func()
	for range most {
		end, err := k.Turn(t.Context(), 7)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	// All turns are taken: one who cannot wait is told so, another volume goes on.
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := k.Turn(short, 7); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("one more than there may be: %v", err)
	}
	other, err := k.Turn(t.Context(), 8)
	if err != nil {
		t.Fatalf("another volume: %v", err)
	}
	other()
	for _, end := range ends {
		end()
	}

	var running, worst, done atomic.Int64
	var reading sync.WaitGroup
	for n := range 400 {
		reading.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if n%4 == 0 {
				time.AfterFunc(time.Duration(n)*50*time.Microsecond, cancel)
			}
			end, err := k.Turn(ctx, 7)
			if err != nil {
				if n%4 != 0 {
					t.Error(err)
				}
				return
			}
			now := running.Add(1)
			for before := worst.Load(); now > before && !worst.CompareAndSwap(before, now); before = worst.Load() {
			}
			time.Sleep(200 * time.Microsecond)
			running.Add(-1)
			done.Add(1)
			end()
		})
	}
	reading.Wait()
	if worst.Load() > most || done.Load() < 300 {
		t.Errorf("%d ran at a time, at most %d may; %d were done", worst.Load(), most, done.Load())
	}
	if len(k.turns) != 0 {
		t.Errorf("%d volumes are remembered", len(k.turns))
	}
}

// TestATurnThatComesTooLateGoesToTheNext: who is given the turn at the moment at which
// it gives up passes it on.
func TestATurnThatComesTooLateGoesToTheNext(t *testing.T) {
	k := NewKeeper()
	for range 100 {
		var ends []func()
		for range heavyPerProcessor * runtime.GOMAXPROCS(0) {
			end, err := k.Turn(t.Context(), 7)
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, end)
		}
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() {
			defer close(over)
			if end, err := k.Turn(ctx, 7); err == nil {
				end()
			}
		}()
		for waits := 0; waits == 0; runtime.Gosched() {
			k.mu.Lock()
			waits = len(k.turns[7].waiting)
			k.mu.Unlock()
		}
		k.mu.Lock() // neither is noticed before the other
		cancel()
		go ends[0]()
		k.mu.Unlock()
		<-over
		for _, end := range ends[1:] {
			end()
		}
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(100 * time.Microsecond) {
			k.mu.Lock()
			left := len(k.turns)
			k.mu.Unlock()
			if left == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("a turn was lost")
			}
		}
	}
}
