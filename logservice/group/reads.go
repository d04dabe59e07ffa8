package group

import (
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
)

// reads are the quorum reads of this replica. Raft sends a round of heartbeats
// for each request and queues them without bound, so all that wait share one,
// and one is under way at a time.
type reads struct {
	incarnation uint64
	counter     uint64
	waiting     []*read // not asked for yet
	asked       []*read // share the request under way
	context     []byte
	askedAt     lease.Instant
}

// read is one caller who wants to know the commit index.
type read struct {
	done func(pinetree.RaftIndex, error)
}

// ReadIndex asks a quorum for an index such that a state that includes it
// reflects every append acknowledged before this call. done hears it, or why
// not. The returned function forgets the request; without an answer of the
// quorum done is never called, so the caller needs a deadline.
func (r *Replica) ReadIndex(done func(pinetree.RaftIndex, error)) (cancel func()) {
	if why := r.ended(); why != nil {
		done(0, why)
		return func() {}
	}
	if len(r.reads.waiting)+len(r.reads.asked) >= r.opt.MaxReads {
		done(0, fmt.Errorf("%w: %d quorum reads wait in group %d; wait and ask again", pinetree.ErrQueueFull, r.opt.MaxReads, r.cfg.Group))
		return func() {}
	}
	return r.reads.wait(done)
}

// wait lets a caller share the next request to the quorum.
func (q *reads) wait(done func(pinetree.RaftIndex, error)) (cancel func()) {
	entry := &read{done: done}
	q.waiting = append(q.waiting, entry)
	return func() { entry.done = nil }
}

// startReads asks raft for those that wait, under a context that was never used
// before: an answer to an older request must not count for a newer one.
func (r *Replica) startReads() {
	q := &r.reads
	q.waiting = slices.DeleteFunc(q.waiting, func(entry *read) bool { return entry.done == nil }) // forgotten
	if len(q.asked) > 0 || len(q.waiting) == 0 {
		return
	}
	if r.lead.term != 0 && !r.mayAnswer() {
		return // not yet; a later turn asks
	}
	q.asked, q.waiting = q.waiting, nil
	q.context = q.freshContext(r.cfg.Node)
	q.askedAt = r.now
	r.rn.ReadIndex(q.context)
}

// contextBytes is the length of a context.
const contextBytes = 24

// freshContext marks a question to a quorum as no other ever was.
func (q *reads) freshContext(asks pinetree.NodeID) []byte {
	q.counter++
	context := make([]byte, 0, contextBytes)
	for _, part := range []uint64{uint64(asks), q.incarnation, q.counter} {
		context = binary.LittleEndian.AppendUint64(context, part)
	}
	return context
}

// mayAnswer tells whether this leader may answer quorum reads, its own and those
// of followers: it is activated and has committed in its own raft term.
func (r *Replica) mayAnswer() bool { return r.lead.ready && r.holder.Activated(r.lead.term) }

// finishReads answers those whose request a quorum confirmed.
func (r *Replica) finishReads(states []raft.ReadState) {
	for _, s := range states {
		if len(r.reads.asked) == 0 || string(s.RequestCtx) != string(r.reads.context) {
			continue
		}
		if r.lead.term != 0 && !r.mayAnswer() {
			continue // asked as a follower, answered as a leader too early
		}
		asked := r.reads.asked
		r.reads.asked = nil
		for _, q := range asked {
			if q.done != nil {
				q.done(pinetree.RaftIndex(s.Index), nil)
			}
		}
		r.startReads()
	}
}

// retryReads asks anew when an answer is overdue: raft loses requests silently.
func (r *Replica) retryReads() {
	q := &r.reads
	if len(q.asked) == 0 || r.now.Sub(q.askedAt) < r.opt.ReadRetry {
		return
	}
	q.waiting = append(q.asked, q.waiting...)
	q.asked = nil
}

func (q *reads) fail(why error) {
	for _, entry := range slices.Concat(q.asked, q.waiting) {
		if entry.done != nil {
			entry.done(0, why)
		}
	}
	q.asked, q.waiting = nil, nil
}
