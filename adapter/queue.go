package adapter

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/pinetree-db/pinetree"
)

// Limits bound what one Queue holds: batches that came early and wait for a
// missing one, and batches that are in order and wait to be taken, together.
// One batch more than the limits is held when the one that is missing comes
// while early ones fill them; otherwise they would wait for ever.
type Limits struct {
	// MaxHeldBytes bounds the encoded bytes.
	MaxHeldBytes int
	// MaxHeldBatches bounds the number of batches.
	MaxHeldBatches int
}

// Queue puts the batches of one volume's writer in log order. It holds what
// arrives early, within its limits, and releases each batch right after the
// one its Prev names. It has no clock, goroutine or I/O: the group that leads
// the volume owns it and calls it from its own goroutine.
//
// What it holds is in memory only and nobody was told that it is safe; a crash
// or a Reset loses it, and the writer sends it again.
//
// Invariants:
//
//	ordered ≤ tail ≤ received; all three rise, except in Open and Reset
//	ready is a gapless chain from ordered to tail
//	held starts after tail, is sorted by Prev, and no two of it overlap
//	everything in ready and held carries the open compute term
//	bytes is the encoded size of ready and held, and within the limits but for
//	the one batch that closed a gap
type Queue struct {
	limits  Limits
	term    pinetree.ComputeTerm
	ordered pinetree.LSN // end of the last batch taken
	tail    pinetree.LSN // end of the last batch in order, taken or ready
	ready   []pinetree.Batch
	held    []pinetree.Batch
	bytes   int
}

// NewQueue makes the queue of a volume whose log ends at the position. The
// first batch it releases is the one whose Prev is at.LSN, for a volume without
// records, too: its base was set by the fence that opened its first term.
func NewQueue(at pinetree.VolumePosition, limits Limits) *Queue {
	q := &Queue{limits: limits}
	q.Reset(at)
	return q
}

// Reset forgets everything and goes on from the position: on a new leader,
// after a dropped proposal, and when a fence has given an empty volume its base.
// The compute term is the position's, even if Open had raised it: a fence that
// was lost fences nobody. After one that is on its way the caller calls Open
// again.
//
// The position is best the end of what raft took. Batches above it that raft
// did take are sent again by the writer, and Decide skips the second copy; but
// that needs the same batches, as one that is cut otherwise would straddle the
// end of an earlier copy, which Decide takes for a hole.
func (q *Queue) Reset(at pinetree.VolumePosition) {
	*q = Queue{limits: q.limits, term: at.Term(), ordered: at.LSN, tail: at.LSN}
}

// Open takes note that the fence of a higher compute term follows the batches
// taken so far in the raft log. What is held or ready belongs to a replaced
// writer, would come after the fence, and is dropped. A term that is not higher
// than the known one changes nothing.
func (q *Queue) Open(term pinetree.ComputeTerm) {
	if term <= q.term {
		return
	}
	*q = Queue{limits: q.limits, term: term, ordered: q.ordered, tail: q.ordered}
}

// Verdict is what became of a batch that was offered and not refused.
type Verdict uint8

const (
	// Queued: the batch is in order and can be taken, and with it whatever was
	// held and follows.
	Queued Verdict = iota + 1
	// Duplicate: all of the batch is in the queue or in the log already.
	Duplicate
	// Held: the batch waits until the ones before it have come.
	Held
)

// String names the verdict.
func (v Verdict) String() string {
	switch v {
	case Queued:
		return "queued"
	case Duplicate:
		return "duplicate"
	case Held:
		return "held"
	}
	return "unknown"
}

// Offer hands over a batch, whose memory is the queue's until it is taken. The
// batch is refused, and the queue unchanged, with
//
//   - *pinetree.StaleComputeTermError when a newer term is open or on its way.
//     It is final, and true only once the fence is applied: until then the
//     caller keeps it from the writer. Its Durable is the queue's tail, because
//     the queue does not know what is committed: the caller puts that in;
//   - pinetree.ErrBadBatch when its term was never opened, when it is empty, or
//     when it overlaps in part with the log or with a batch that is held;
//   - pinetree.ErrQueueFull when the limits are reached. It may be sent again.
func (q *Queue) Offer(b pinetree.Batch) (Verdict, error) {
	if err := q.admit(b); err != nil {
		return 0, err
	}
	if b.LSN <= q.tail {
		return Duplicate, nil
	}
	at, known, err := q.place(b)
	switch {
	case err != nil:
		return 0, err
	case known:
		return Duplicate, nil
	}
	inOrder := b.Prev == q.tail
	if err := q.room(b, inOrder); err != nil {
		return 0, err
	}
	q.bytes += b.Size()
	if !inOrder {
		q.held = slices.Insert(q.held, at, b)
		return Held, nil
	}
	q.ready, q.tail = append(q.ready, b), b.LSN
	q.release()
	return Queued, nil
}

// admit checks the batch's term and shape.
func (q *Queue) admit(b pinetree.Batch) error {
	switch {
	case b.Term < q.term:
		return &pinetree.StaleComputeTermError{Volume: b.Volume, Term: q.term, Durable: q.tail}
	case b.Term > q.term || b.Term == 0:
		return fmt.Errorf("%w: volume %d: compute term %d was not opened; call Open first", pinetree.ErrBadBatch, b.Volume, b.Term)
	case b.LSN <= b.Prev:
		return fmt.Errorf("%w: volume %d: batch %s covers nothing", pinetree.ErrBadBatch, b.Volume, span(b))
	}
	return nil
}

// place finds where in held the batch belongs, or that it is there already. A
// batch that overlaps in part with the log or with a held one is an error.
func (q *Queue) place(b pinetree.Batch) (at int, known bool, err error) {
	if b.Prev < q.tail {
		return 0, false, fmt.Errorf("%w: volume %d: batch %s begins before %s, where the log ends, and reaches beyond it; resend the batches as they were first cut",
			pinetree.ErrBadBatch, b.Volume, span(b), q.tail)
	}
	at, found := slices.BinarySearchFunc(q.held, b.Prev, func(h pinetree.Batch, prev pinetree.LSN) int {
		return cmp.Compare(h.Prev, prev)
	})
	if found && q.held[at].LSN == b.LSN {
		return at, true, nil
	}
	if at > 0 && q.held[at-1].LSN > b.Prev {
		return 0, false, overlapError(b, q.held[at-1])
	}
	if at < len(q.held) && q.held[at].Prev < b.LSN {
		return 0, false, overlapError(b, q.held[at])
	}
	return at, false, nil
}

// room refuses a batch beyond the limits. The next one in order gets in
// whenever nothing is ready: what is held can only leave behind it.
func (q *Queue) room(b pinetree.Batch, inOrder bool) error {
	if inOrder && len(q.ready) == 0 {
		return nil
	}
	var limit string
	switch {
	case len(q.ready)+len(q.held) >= q.limits.MaxHeldBatches:
		limit = fmt.Sprintf("%d batches", q.limits.MaxHeldBatches)
	case q.bytes+b.Size() > q.limits.MaxHeldBytes:
		limit = fmt.Sprintf("%d bytes", q.limits.MaxHeldBytes)
	default:
		return nil
	}
	if inOrder {
		return fmt.Errorf("%w: volume %d: batch %s is next, but what is in order and not yet taken reaches the limit of %s; wait and send it again",
			pinetree.ErrQueueFull, b.Volume, span(b), limit)
	}
	return fmt.Errorf("%w: volume %d: no room for batch %s within the limit of %s; the batch that begins at %s is missing, send it first",
		pinetree.ErrQueueFull, b.Volume, span(b), limit, q.tail)
}

// release moves what follows on the tail from held to ready.
func (q *Queue) release() {
	n := 0
	for n < len(q.held) && q.held[n].Prev == q.tail {
		q.tail = q.held[n].LSN
		n++
	}
	q.ready = append(q.ready, q.held[:n]...)
	clear(q.held[:n])
	q.held = q.held[n:]
}

// Take removes and returns the batches that are next in order: as many as fit
// in maxBytes of encoded bytes, and at least one if there is any. The caller
// puts them into the raft log in this order and before any fence that it tells
// Open of; if one is dropped, none after it may be put there, and it calls
// Reset.
func (q *Queue) Take(maxBytes int) []pinetree.Batch {
	if len(q.ready) == 0 {
		return nil
	}
	n, size := 1, q.ready[0].Size()
	for n < len(q.ready) && size+q.ready[n].Size() <= maxBytes {
		size += q.ready[n].Size()
		n++
	}
	taken := slices.Clone(q.ready[:n])
	clear(q.ready[:n]) // The taken memory is no longer the queue's.
	q.ready = q.ready[n:]
	q.ordered = taken[n-1].LSN
	q.bytes -= size
	return taken
}

// Ready tells whether Take would return anything.
func (q *Queue) Ready() bool { return len(q.ready) > 0 }

// Missing names the LSN at which the missing batch begins, when later ones are
// held.
func (q *Queue) Missing() (pinetree.LSN, bool) {
	if len(q.held) == 0 {
		return 0, false
	}
	return q.tail, true
}

// Ordered is the end of the last batch taken, or of the log as of the position
// that the queue began at.
func (q *Queue) Ordered() pinetree.LSN { return q.ordered }

// Received is the highest end of any batch held, ready or taken.
func (q *Queue) Received() pinetree.LSN {
	if len(q.held) == 0 {
		return q.tail
	}
	return q.held[len(q.held)-1].LSN
}

// Term is the compute term whose batches are taken in.
func (q *Queue) Term() pinetree.ComputeTerm { return q.term }

// HeldBytes is the encoded size of all batches in the queue, held and ready.
func (q *Queue) HeldBytes() int { return q.bytes }

func overlapError(b, other pinetree.Batch) error {
	return fmt.Errorf("%w: volume %d: batch %s overlaps with batch %s, which is held; resend the batches as they were first cut",
		pinetree.ErrBadBatch, b.Volume, span(b), span(other))
}

func span(b pinetree.Batch) string { return fmt.Sprintf("(%s, %s]", b.Prev, b.LSN) }
