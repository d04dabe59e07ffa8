package adapter

import (
	"fmt"

	"github.com/pinetree-db/pinetree"
)

// Append names one append: its writer's compute term and its end.
type Append struct {
	Term pinetree.ComputeTerm
	LSN  pinetree.LSN
}

// Outcome is what became of an append.
type Outcome uint8

const (
	// Committed: the append is durable and in every later read.
	Committed Outcome = iota + 1
	// NotCommitted: the append is not in the log, but its term is still open:
	// sending it again settles it.
	NotCommitted
	// Rejected: the append is not in the log and never will be.
	Rejected
)

// String names the outcome.
func (o Outcome) String() string {
	switch o {
	case Committed:
		return "committed"
	case NotCommitted:
		return "not committed"
	case Rejected:
		return "rejected"
	}
	return "unknown"
}

// Resolve tells what became of an append, as of a position that reflects
// everything acknowledged before. A writer's appends are one chain, so those of
// a replaced term that are in the log are the ones up to the LSN at which the
// next term began.
//
// It reports pinetree.ErrBadBatch for a term that was not opened yet, and
// pinetree.ErrTruncated when the append's term ended so many terms ago that
// where it ended is forgotten, and the append is not above the oldest term
// start that is known.
func Resolve(at pinetree.VolumePosition, a Append) (Outcome, error) {
	open := at.Term()
	switch {
	case a.Term > open || a.Term == 0:
		return 0, fmt.Errorf("%w: cannot tell what became of the append that ends at %s: its compute term %d was never opened, the open one is %d",
			pinetree.ErrBadBatch, a.LSN, a.Term, open)
	case a.Term == open && a.LSN <= at.LSN:
		return Committed, nil
	case a.Term == open:
		return NotCommitted, nil
	}
	return resolveReplaced(at, a)
}

// resolveReplaced is Resolve for a term below the open one.
func resolveReplaced(at pinetree.VolumePosition, a Append) (Outcome, error) {
	next := 0
	for at.Terms[next].Term <= a.Term {
		next++
	}
	end := at.Terms[next].Start
	// While the log is empty a fence may move its base. A term that ended
	// before the first record has nothing in it, however high the base is now.
	if a.LSN > end || end <= at.Base {
		return Rejected, nil
	}
	switch {
	case next > 0 && at.Terms[next-1].Term == a.Term:
		return Committed, nil
	case next > 0:
		// The terms before and after are known: this one was passed over, and
		// its writer never shipped anything.
		return Rejected, nil
	}
	// The first term of all began at the base, so older ones are forgotten.
	return 0, fmt.Errorf("%w: cannot tell what became of the append that ends at %s: where compute term %d ended is forgotten; the oldest remembered term is %d, which began at %s",
		pinetree.ErrTruncated, a.LSN, a.Term, at.Terms[0].Term, end)
}
