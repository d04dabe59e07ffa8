package ferry

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestALineKeepsItsOrderAndItsLimits walks through random days of a line beside a
// list of what must come of it.
func TestALineKeepsItsOrderAndItsLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		calls := rapid.IntRange(1, 4).Draw(t, "calls")
		now := time.Unix(1000, 0)
		var l line[int]
		var waits []waiter[int]
		underWay, next := 0, 0
		gone := func(load []int) {
			if len(load) == 0 {
				return
			}
			if len(load) > maxTogether || len(load) < min(maxTogether, len(waits)) {
				t.Fatalf("%d of %d that wait go together", len(load), len(waits))
			}
			for i, read := range load {
				if waits[i].read != read {
					t.Fatalf("%v go, and %v wait", load, waits)
				}
			}
			waits = slices.Delete(waits, 0, len(load))
			underWay++
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, int(usualPatience)).Draw(t, "pause")))
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1, 2:
				for range rapid.IntRange(1, maxTogether).Draw(t, "come") {
					goes := l.goes(calls)
					if goes != (underWay < calls) {
						t.Fatalf("goes at once: %v, with %d of %d calls under way", goes, underWay, calls)
					}
					if goes {
						underWay++
						continue
					}
					l.join(next, now)
					waits = append(waits, waiter[int]{next, now})
					next++
				}
			case 3:
				if underWay > 0 {
					underWay--
					gone(l.back(calls))
				}
			case 4:
				late := len(waits) > 0 && now.Sub(waits[0].since) >= usualPatience
				load := l.overdue(now, usualPatience)
				if (len(load) > 0) != late {
					t.Fatalf("%v are overdue at %v of %v", load, now, waits)
				}
				gone(load)
			case 5:
				read := rapid.IntRange(-1, next).Draw(t, "leaves")
				at := slices.IndexFunc(waits, func(w waiter[int]) bool { return w.read == read })
				if l.leave(read) != (at >= 0) {
					t.Fatalf("%d leaves %v", read, waits)
				}
				if at >= 0 {
					waits = slices.Delete(waits, at, at+1)
				}
			}
			if l.underWay != underWay || !slices.Equal(l.waiting, waits) || len(waits) > 0 && underWay < calls {
				t.Fatalf("%d calls under way and %v waiting, want %d and %v", l.underWay, l.waiting, underWay, waits)
			}
			if wait, waiting := l.wait(now, usualPatience); waiting != (len(waits) > 0) || waiting && wait != max(0, usualPatience-now.Sub(waits[0].since)) {
				t.Fatalf("the first of %v may wait for %v, %v, at %v", waits, wait, waiting, now)
			}
			if l.idle() != (underWay == 0 && len(waits) == 0) {
				t.Fatalf("idle with %d calls and %v", underWay, waits)
			}
		}
	})
}

func TestWhoFindsNoRoomInTheLineGoesByItself(t *testing.T) {
	var l line[int]
	l.goes(1)
	for i := range maxWaiting {
		if l.goes(1) {
			t.Fatalf("read %d did not wait", i)
		}
		l.join(i, time.Unix(0, 0))
	}
	if !l.goes(1) {
		t.Fatalf("one more waits, and %d may", maxWaiting)
	}
	if load := l.back(1); load != nil {
		t.Fatalf("%d go while a call is under way", len(load))
	}
	if load := l.back(1); len(load) != maxTogether {
		t.Fatalf("%d go together", len(load))
	}
}
