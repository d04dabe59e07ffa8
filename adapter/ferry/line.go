package ferry

import (
	"slices"
	"time"
)

// line is where the reads of one kind wait. It decides who goes when, and has no
// clock, goroutine or lock: the Ferry that owns it calls it under its own.
//
// A read is put into a call when that call is about to be sent, never into one
// that is under way: a node may have looked at the state for that one before the
// read began, and the answer would lack what was acknowledged in between.
//
// Invariants:
//
//	nobody waits while fewer than the rules' Calls are under way
//	those that wait are at most maxWaiting, in the order in which they came
type line[P comparable] struct {
	underWay int
	waiting  []waiter[P]
}

type waiter[P comparable] struct {
	read  P
	since time.Time
}

// goes tells whether a read is to go at once, by itself, and counts its call.
// Otherwise it is to join the line. One for which there is no room goes, too: that
// is what it costs without a line.
func (l *line[P]) goes(calls int) bool {
	if l.underWay >= calls && len(l.waiting) < maxWaiting {
		return false
	}
	l.underWay++
	return true
}

// join has a read wait.
func (l *line[P]) join(read P, now time.Time) {
	l.waiting = append(l.waiting, waiter[P]{read, now})
}

// back ends a call, and returns those that go in the next one: nobody, or a call
// more is under way, to be ended by back.
func (l *line[P]) back(calls int) []P {
	l.underWay--
	if l.underWay >= calls {
		return nil
	}
	return l.depart()
}

// overdue returns those that go beside the calls under way, because the first of
// them has waited for as long as patience: one call that hangs is not to hold up the others.
func (l *line[P]) overdue(now time.Time, patience time.Duration) []P {
	if len(l.waiting) == 0 || now.Sub(l.waiting[0].since) < patience {
		return nil
	}
	return l.depart()
}

// depart takes the first ones out of the line and counts their call.
func (l *line[P]) depart() []P {
	n := min(len(l.waiting), maxTogether)
	if n == 0 {
		return nil
	}
	l.underWay++
	load := make([]P, n)
	for i, w := range l.waiting[:n] {
		load[i] = w.read
	}
	l.waiting = slices.Delete(l.waiting, 0, n)
	return load
}

// leave takes a read out of the line; false when it has gone.
func (l *line[P]) leave(read P) bool {
	at := slices.IndexFunc(l.waiting, func(w waiter[P]) bool { return w.read == read })
	if at < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, at, at+1)
	return true
}

// wait is for how long the first of those that wait may still do so; false when
// nobody waits.
func (l *line[P]) wait(now time.Time, patience time.Duration) (time.Duration, bool) {
	if len(l.waiting) == 0 {
		return 0, false
	}
	return max(0, patience-now.Sub(l.waiting[0].since)), true
}

// idle tells that nothing is known of the line that would be missed.
func (l *line[P]) idle() bool { return l.underWay == 0 && len(l.waiting) == 0 }
