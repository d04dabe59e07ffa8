package walk

import (
	"fmt"
	"hash/maphash"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
)

// Walk is one search. The clocks' rates are fixed: those of the nodes are slow,
// so that leases last, and the second manager's is fast, so that it waits for a
// short time; the other ends of the bound allow nothing that these do not. The
// first manager's is drawn by the caller.
type Walk struct {
	limits  Limits
	rate    lease.Instant // of the first manager's clock
	seed    maphash.Seed
	visited map[uint64]struct{}
	next    []state // a step further than those that are being looked at
	failure string
	// wishes remembers whom the policy would appoint, for it is asked often.
	wishes map[wish][2]bool
}

// wish is what the policy goes by.
type wish struct {
	reports [2]report
	record  lease.Record
}

// report is what a node says of itself.
type report struct {
	leads       pinetree.RaftTerm
	appointment pinetree.AppointmentID
}

// Run visits every state and returns how many there are and what is wrong with
// one of them; nothing when all are well. States are told apart by 64 bits of hash
// under a seed of each run, as TLC does it: that two of a million states share
// theirs, and one of them is left out, has a chance of one in thirty million.
func Run(l Limits) (states int, failure string) {
	for _, rate := range []lease.Instant{slow, fast} {
		w := Walk{
			limits: l, rate: rate, visited: map[uint64]struct{}{}, wishes: map[wish][2]bool{},
			seed: maphash.MakeSeed(),
		}
		w.visit(l.begin())
		for len(w.next) > 0 && w.failure == "" {
			level := w.next
			w.next = nil
			for _, s := range level {
				w.steps(s)
			}
		}
		states += len(w.visited)
		if w.failure != "" {
			return states, w.failure
		}
	}
	return states, ""
}

// visit queues a state that is new, after looking at its leases.
func (w *Walk) visit(s state) {
	key := maphash.Comparable(w.seed, s)
	if _, seen := w.visited[key]; seen {
		return
	}
	w.visited[key] = struct{}{}
	if w.believes(&s, 0) && w.believes(&s, 1) {
		w.fail(s, "both nodes believe to hold the lease")
	}
	if w.limits.Recovery {
		w.recovery(s)
	}
	w.next = append(w.next, s)
}

func (w *Walk) fail(s state, format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf("%s, without %v: %+v", fmt.Sprintf(format, args...), w.limits.Without, s)
	}
}

// clock is what a node reads.
func (w *Walk) clock(s *state, node int) lease.Instant {
	return start + lease.Instant(s.ticks)*slow - s.nodes[node].slept
}

// office is what a manager reads.
func (w *Walk) office(s *state, m int) lease.Instant {
	if m == 0 {
		return start + lease.Instant(s.ticks)*w.rate
	}
	return start + lease.Instant(s.ticks)*fast
}

func (w *Walk) without(r Rule) bool { return w.limits.Without == r }

// believes tells whether a node would answer a default read by its lease.
func (w *Walk) believes(s *state, i int) bool {
	n := &s.nodes[i]
	return n.holder.Expiry(n.leads) > w.clock(s, i)
}

// steps visits all that may come next.
func (w *Walk) steps(s state) {
	w.tick(s)
	for i := range s.nodes {
		w.leaderSteps(s, i)
		w.readSteps(s, i)
		w.deliver(s, i)
	}
	for m := range s.managers {
		w.managerSteps(s, m)
	}
	if s.office == 0 && w.limits.Failovers > 0 {
		w.takeOffice(s)
	}
}

func (w *Walk) tick(s state) {
	if s.ticks >= w.limits.Ticks {
		return
	}
	s.ticks++
	w.visit(s)
	if w.without(SuspendedTime) {
		for i := range s.nodes {
			next := s
			next.nodes[i].slept += slow
			w.visit(next)
		}
	}
}

// leaderSteps are raft's: who leads, what is on a quorum, and who knows.
func (w *Walk) leaderSteps(s state, i int) {
	n := s.nodes[i]
	follower := n
	follower.leads, follower.reached, follower.ready = 0, 0, false
	if int8(s.term) < w.limits.Terms && n.leads != s.term {
		next := s
		next.term++
		next.nodes[i] = follower
		next.nodes[i].leads = next.term
		w.visit(next)
	}
	if n.leads != 0 && n.leads < s.term { // it hears of the newer term
		next := s
		next.nodes[i] = follower
		w.visit(next)
	}
	if s.restarts < w.limits.Restarts {
		next := s
		next.restarts++
		m := &next.nodes[i]
		*m = node{holder: lease.NewHolder(w.limits.drift()), order: n.order, release: n.release, slept: n.slept}
		w.visit(next)
	}
	if n.leads == s.term {
		next := s
		if n.reached != 0 {
			next.length++
		}
		if next.length <= w.limits.Writes {
			next.nodes[i].reached = 1 + next.length
			w.visit(next)
		}
	}
	early := w.without(Activation) || w.without(CommitGate) || w.without(IndexGate)
	if n.reached != 0 && (n.holder.Activated(n.leads) || early) && (!n.ready || n.commit+1 < n.reached) {
		next := s
		next.nodes[i].ready, next.nodes[i].commit = true, max(n.commit, n.reached-1)
		w.visit(next)
	}
	if n.ready && n.commit > s.must && (n.holder.Activated(n.leads) || w.without(Activation)) {
		next := s
		next.must = n.commit // acknowledged
		w.visit(next)
	}
}

// readSteps are fresh reads. What takes time in the code takes none here: the
// worst is that a read begins when its index is taken and sees no more than that.
func (w *Walk) readSteps(s state, i int) {
	n := &s.nodes[i]
	if n.leads == 0 {
		return
	}
	if n.leads == s.term && n.ready && (n.holder.Activated(n.leads) || w.without(IndexGate)) {
		w.answer(s, n.commit, "a quorum read")
	}
	if n.commit > s.must && !w.without(Activation) && !w.without(IndexGate) {
		next := s
		next.must = n.commit // a follower's read that was asked for in time sees what is committed since
		w.visit(next)
	}
	ready := n.ready || w.without(OwnTerm)
	holds := w.believes(&s, i) || w.without(Lease) || w.without(CheckPerRead) && n.holder.Expiry(n.leads) != 0
	switch {
	case w.without(SameTerm):
		w.readInTwoSteps(s, int8(i), ready && holds)
	case !ready || !holds:
	case w.without(Apply):
		w.answer(s, 0, "a default read")
	default:
		w.answer(s, n.commit, "a default read")
	}
}

func (w *Walk) readInTwoSteps(s state, i int8, holds bool) {
	next := s
	switch {
	case s.reads.node == 0 && s.nodes[i].ready:
		next.reads = reading{node: 1 + i, index: s.nodes[i].commit, wants: s.must}
		w.visit(next)
	case s.reads.node == 1+i && holds:
		if s.reads.index < s.reads.wants {
			w.fail(s, "a default read misses what was acknowledged")
		}
		next.reads = reading{}
		w.visit(next)
	}
}

// answer is a read that sees so much.
func (w *Walk) answer(s state, sees int8, how string) {
	if sees < s.must {
		w.fail(s, "%s sees %d appends; %d were acknowledged, or read, before it began", how, sees, s.must)
	}
	if sees > s.must {
		s.must = sees
		w.visit(s)
	}
}

// claimTime is for how long a manager counts on its office, or on that of the one
// before it.
func (w *Walk) claimTime(toward float64) time.Duration {
	if w.without(DriftBound) {
		toward = 0
	}
	return time.Duration(claim * (1 + toward))
}

// appointed is the record of the next appointment.
func appointed(r lease.Record, to pinetree.NodeID) lease.Record {
	r.Appointment++
	r.Node = to
	return r
}
