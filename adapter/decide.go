package adapter

import (
	"slices"

	"github.com/pinetree-db/pinetree"
)

// Decision is what a replica does with a committed batch.
type Decision uint8

const (
	// Apply: the batch is the next one.
	Apply Decision = iota + 1
	// SkipReplayed: all of the batch is in the volume already.
	SkipReplayed
	// SkipFenced: the batch's writer was replaced before it.
	SkipFenced
	// Hole: the batch does not follow on the log. The Queue makes this
	// impossible, so something is broken: the replica stops.
	Hole
)

// String names the decision.
func (d Decision) String() string {
	switch d {
	case Apply:
		return "apply"
	case SkipReplayed:
		return "skip, replayed"
	case SkipFenced:
		return "skip, fenced"
	case Hole:
		return "hole"
	}
	return "unknown"
}

// Decide tells what to do with the next committed batch of a volume at the
// position. It is the pair of the Queue's check and depends on nothing but the
// raft log, so all replicas decide alike.
//
// The compute term is looked at first. After a fence the raft log may still
// hold batches of the replaced writer that follow on batches skipped before
// them: by LSN they look like a hole and are none. One of them that was applied
// before its fence, and is met again, is skipped whichever check sees it. A
// batch of a term that no fence opened is no replay, whatever its LSN says.
func Decide(at pinetree.VolumePosition, b pinetree.Batch) Decision {
	switch open := at.Term(); {
	case b.Term < open:
		return SkipFenced
	case b.Term > open || open == 0:
		return Hole
	case b.LSN <= at.LSN:
		return SkipReplayed
	case b.Prev == at.LSN:
		return Apply
	}
	return Hole
}

// EndTerm is above the compute term of every writer. Its fence comes before a volume
// is dropped, so that no batch comes after.
const EndTerm = ^pinetree.ComputeTerm(0)

// Fence opens a compute term of a volume and shuts all lower ones out.
type Fence struct {
	Term pinetree.ComputeTerm
	// Base is where the log of a volume that has neither records nor a base is
	// to begin; otherwise it is ignored.
	Base pinetree.LSN
}

// OpenTerm returns the position after a committed fence, and whether the fence
// opened its term: one that is not above every term so far changes nothing. The
// given position's slice is not written to.
func OpenTerm(at pinetree.VolumePosition, f Fence) (pinetree.VolumePosition, bool) {
	if f.Term <= at.Term() {
		return at, false
	}
	if at.LSN == 0 && at.Base == 0 {
		at.LSN, at.Base = f.Base, f.Base
	}
	forget := max(0, len(at.Terms)+1-pinetree.MaxTermHistory)
	at.Terms = append(slices.Clone(at.Terms[forget:]), pinetree.TermStart{Term: f.Term, Start: at.LSN})
	return at, true
}
