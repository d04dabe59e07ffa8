package adapter

import "github.com/pinetree-db/pinetree"

// Limits bound what one Queue holds.
type Limits struct {
	MaxHeldBytes   int
	MaxHeldBatches int
}

// Queue API, see adapter.go.
type Queue struct{}

// NewQueue.
func NewQueue(at pinetree.VolumePosition, limits Limits) *Queue { panic("api") }

// Reset.
func (q *Queue) Reset(at pinetree.VolumePosition) { panic("api") }

// Open.
func (q *Queue) Open(term pinetree.ComputeTerm) { panic("api") }

// Verdict.
type Verdict uint8

// Verdicts.
const (
	Queued Verdict = iota + 1
	Duplicate
	Held
)

// Offer.
func (q *Queue) Offer(b pinetree.Batch) (Verdict, error) { panic("api") }

// Take.
func (q *Queue) Take(maxBytes int) []pinetree.Batch { panic("api") }

// Ready.
func (q *Queue) Ready() bool { panic("api") }

// Missing.
func (q *Queue) Missing() (pinetree.LSN, bool) { panic("api") }

// Ordered.
func (q *Queue) Ordered() pinetree.LSN { panic("api") }

// Received.
func (q *Queue) Received() pinetree.LSN { panic("api") }

// Term.
func (q *Queue) Term() pinetree.ComputeTerm { panic("api") }

// HeldBytes.
func (q *Queue) HeldBytes() int { panic("api") }

// Decision.
type Decision uint8

// Decisions.
const (
	Apply Decision = iota + 1
	SkipReplayed
	SkipFenced
	Hole
)

// Decide.
func Decide(at pinetree.VolumePosition, b pinetree.Batch) Decision { panic("api") }

// OpenTerm returns the position after a fence, and whether it opened the term.
func OpenTerm(at pinetree.VolumePosition, f Fence) (pinetree.VolumePosition, bool) { panic("api") }

// Fence of a volume.
type Fence struct {
	Term pinetree.ComputeTerm
	Base pinetree.LSN
}

// Outcome.
type Outcome uint8

// Outcomes.
const (
	Committed Outcome = iota + 1
	NotCommitted
	Rejected
)

// Append names one append: its writer's term and its end.
type Append struct {
	Term pinetree.ComputeTerm
	LSN  pinetree.LSN
}

// Resolve.
func Resolve(at pinetree.VolumePosition, a Append) (Outcome, error) { panic("api") }
