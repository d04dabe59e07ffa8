package sim

import (
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/test/sim/history"
)

// maxReadWait is after how long a node gives a read up.
const maxReadWait = 2 * time.Second

// read is one read on its way through a node, step by step as package host does
// it, with time passing between the steps.
type read struct {
	m      *member
	volume *volume
	level  pinetree.ReadLevel
	floor  pinetree.LSN // what it must reflect
	minLSN pinetree.LSN
	whole  bool // compare the whole log
	done   func(ok bool)

	over   bool
	forget func() // of the quorum read under way
	before group.View
}

// serve begins a read on this node.
func (m *member) serve(q *read) {
	q.m = m
	m.node.after(maxReadWait, func() { q.finish(false) })
	if q.minLSN > 0 {
		m.wait(waiter{q.reached(q.minLSN), q.atLevel})
		return
	}
	q.atLevel()
}

func (q *read) reached(lsn pinetree.LSN) func(pinetree.Position) bool {
	return func(at pinetree.Position) bool { return at.Volumes[q.volume.id].LSN >= lsn }
}

func (q *read) finish(ok bool) {
	if q.over {
		return
	}
	q.over = true
	if q.forget != nil {
		q.forget()
	}
	q.done(ok)
}

func (q *read) atLevel() {
	switch q.level {
	case pinetree.ReadStale:
		at, ok := q.look()
		if ok && at < q.minLSN {
			q.m.node.w.fail("volume %d: a stale read that waited for %s saw %s", q.volume.id, q.minLSN, at)
		}
		q.settle("stale", at, ok)
	case pinetree.ReadDefault:
		q.leased()
	case pinetree.ReadConsistent:
		q.quorum("quorum")
	}
}

// step goes on a little later, if the read is not over.
func (q *read) step(next func()) {
	q.m.node.after(q.m.node.w.span(q.m.node.w.plan.readStep), func() {
		if !q.over {
			next()
		}
	})
}

// leased reads under the lease: it must be held before, when the commit index
// is taken, and still after the read, in the same raft term.
func (q *read) leased() {
	m, w := q.m, q.m.node.w
	q.before = m.view
	held := m.holds(q.before) || w.cfg.Mutant == AnotherTerm
	switch {
	case !m.leads(q.before):
		q.finish(false)
	case !held:
		w.mark(FallbackNoLease)
		q.quorum("quorum for lack of a lease")
	case w.cfg.Mutant == NoApplyWait:
		q.step(q.underLease)
	default:
		m.wait(waiter{
			func(at pinetree.Position) bool { return at.Index >= q.before.Committed },
			func() { q.step(q.underLease) },
		})
	}
}

func (q *read) underLease() {
	at, ok := q.look()
	if q.m.node.w.cfg.Mutant == AnotherTerm {
		q.m.node.after(q.m.node.w.span(between{0, maxReadWait}), func() { q.lookAgain(at, ok) })
		return
	}
	q.step(func() { q.lookAgain(at, ok) })
}

// lookAgain ends a read, if the lease is still held after it.
func (q *read) lookAgain(at pinetree.LSN, ok bool) {
	m := q.m
	if q.over {
		return
	}
	after, mutant := m.view, m.node.w.cfg.Mutant
	sameTerm := after.Term == q.before.Term || mutant == NoLeaseCheck || mutant == AnotherTerm
	if !m.leads(after) || !sameTerm || !m.holds(after) {
		m.node.w.mark(FallbackAfterRead)
		q.quorum("quorum after the lease was lost")
		return
	}
	m.node.w.mark(LeaseRead)
	q.settle("lease", at, ok)
}

// quorum asks a quorum, waits until its index is replayed here, and reads.
func (q *read) quorum(how string) {
	m, w := q.m, q.m.node.w
	leads := m.role.Leads
	if m.answersNobody() {
		q.finish(false)
		return
	}
	m.post(func(r *group.Replica) {
		q.forget = r.ReadIndex(func(index pinetree.RaftIndex, err error) {
			if err != nil || q.over {
				q.finish(false)
				return
			}
			then := func() {
				if q.over {
					return
				}
				if leads {
					w.mark(LeaderQuorumRead)
				} else {
					w.mark(FollowerRead)
				}
				at, ok := q.look()
				q.settle(how, at, ok)
			}
			if w.cfg.Mutant == NoApplyWait {
				then()
				return
			}
			m.wait(waiter{func(at pinetree.Position) bool { return at.Index >= index }, then})
		})
	})
}

// look reads what is replayed now.
func (q *read) look() (pinetree.LSN, bool) {
	m := q.m
	reader, err := m.reader(q.volume.id)
	if err != nil {
		return 0, false
	}
	at := reader.Position()
	if q.whole && at.LSN > 0 {
		end := m.node.w.hist.Log(m.node.id, q.volume.id, reader, at.First())
		if end != at.LSN {
			m.node.w.fail("volume %d on node %d: the log reads up to %s, the position says %s", q.volume.id, m.node.id, end, at.LSN)
		}
	}
	return at.LSN, true
}

func (q *read) settle(how string, at pinetree.LSN, ok bool) {
	if q.over {
		return
	}
	if ok {
		q.m.node.w.hist.Answered(history.Read{
			Node: q.m.node.id, Volume: q.volume.id, Level: q.level, How: how, Floor: q.floor, At: at,
		})
	}
	q.finish(ok)
}
