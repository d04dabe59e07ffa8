package lease

import (
	"fmt"
	"testing"

	"github.com/pinetree-db/pinetree"
)

// The walk visits every state that two nodes and a manager can reach within a
// few ticks and a few messages, with each clock at an end of a very wide drift
// bound: one tick is two units of true time, of which a clock counts one or
// three. In none may both nodes believe to hold the lease.

var walkRules = Rules{Duration: 4, MaxDrift: 0.5}

// walkLimits bound the walk: ticks of time, appointments beyond the first,
// raft terms, restarts of nodes and replacements of the manager.
type walkLimits struct{ ticks, moves, terms, restarts, failovers int8 }

type walkNode struct {
	holder Holder
	leads  pinetree.RaftTerm
	// One message of each kind may be on its way; zero is none.
	appoint pinetree.AppointmentID
	release pinetree.AppointmentID
	answer  pinetree.AppointmentID // to release
	request walkRequest
	grant   Grant
	asked   Instant // of the grant
}

type walkRequest struct {
	present bool
	asked   Instant
	claim   Claim
}

// walkState is comparable, so that no state is visited twice.
type walkState struct {
	ticks, moves, restarts, failovers int8
	term                              pinetree.RaftTerm
	nodes                             [2]walkNode
	granter                           Granter
}

type walk struct {
	defect  defect
	limits  walkLimits
	rates   [3]int8 // units per tick of each node's clock and of the manager's
	visited map[walkState]struct{}
	stack   []walkState
	failure string
}

func (w *walk) clock(s *walkState, machine int) Instant {
	return 1000 + Instant(s.ticks)*Instant(w.rates[machine])
}

func (w *walk) rules() Rules {
	r := walkRules
	if w.defect == noDrift {
		r.MaxDrift = 0
	}
	return r
}

// visit queues a state that is new, after checking it.
func (w *walk) visit(s walkState) {
	if _, seen := w.visited[s]; seen {
		return
	}
	w.visited[s] = struct{}{}
	believers := 0
	for i := range s.nodes {
		if s.nodes[i].holder.Expiry(s.nodes[i].leads) > w.clock(&s, i) {
			believers++
		}
	}
	if believers > 1 && w.failure == "" {
		w.failure = fmt.Sprintf("both nodes believe to hold the lease at clock rates %v: %+v", w.rates, s)
	}
	w.stack = append(w.stack, s)
}

func (w *walk) run() {
	s := walkState{term: 2}
	for i := range s.nodes {
		s.nodes[i].holder = NewHolder(w.rules().MaxDrift)
	}
	s.nodes[0].leads = 2
	_ = s.nodes[0].holder.Appoint(1)
	s.granter = NewGranter(w.rules(), Record{Appointment: 1, Node: 1, Holder: 1, Held: 1, Term: 2}, 0)
	w.visit(s)
	for len(w.stack) > 0 && w.failure == "" {
		s := w.stack[len(w.stack)-1]
		w.stack = w.stack[:len(w.stack)-1]
		if s.ticks < w.limits.ticks {
			next := s
			next.ticks++
			w.visit(next)
		}
		w.managerSteps(s)
		for i := range s.nodes {
			w.nodeSteps(s, i)
			w.deliveries(s, i)
		}
	}
}

func (w *walk) managerSteps(s walkState) {
	if s.moves < w.limits.moves {
		for to := range s.nodes {
			next := s
			next.moves++
			r := next.granter.Record()
			r.Appointment, r.Node = r.Appointment+1, pinetree.NodeID(to+1)
			next.granter.Recorded(r)
			next.nodes[to].appoint = r.Appointment
			w.visit(next)
			from := int(r.Holder) - 1
			next.nodes[from].release = r.Held
			if w.defect == releaseUnasked {
				next.granter.Release(r.Holder, r.Held)
			}
			w.visit(next)
		}
	}
	if s.failovers < w.limits.failovers {
		next := s
		next.failovers++
		since := w.clock(&s, 2)
		if w.defect == noWaitAfterFailover {
			since = 0
		}
		next.granter = NewGranter(w.rules(), s.granter.Record(), since)
		w.visit(next)
	}
}

func (w *walk) nodeSteps(s walkState, i int) {
	n := s.nodes[i]
	if n.leads != 0 && !n.request.present {
		next := s
		next.nodes[i].request = walkRequest{present: true, asked: w.clock(&s, i), claim: Claim{
			Node: pinetree.NodeID(i + 1), Appointment: n.holder.Appointment(), Term: n.leads,
		}}
		w.visit(next)
	}
	if int8(s.term) < w.limits.terms {
		next := s
		next.term++
		next.nodes[i].leads = next.term // the other one does not hear of it
		w.visit(next)
	}
	if s.restarts < w.limits.restarts {
		next := s
		next.restarts++
		m := &next.nodes[i]
		m.holder, m.leads, m.grant, m.asked = NewHolder(w.rules().MaxDrift), 0, Grant{}, 0
		w.visit(next)
	}
}

// deliveries brings each message on its way to its end, or loses it. Messages
// that were never lost are as if very late, so only those are lost whose place
// another one may take.
func (w *walk) deliveries(s walkState, i int) {
	n := &s.nodes[i]
	if n.request.present {
		next := s
		next.nodes[i].request = walkRequest{}
		w.visit(next)
		w.answerClaim(next, i, n.request)
	}
	if n.grant != (Grant{}) {
		next := s
		m := &next.nodes[i]
		m.grant, m.asked = Grant{}, 0
		w.visit(next)
		asked := n.asked
		if w.defect == countFromReceipt {
			asked = w.clock(&s, i)
		}
		m.holder.Use(n.grant, asked, n.leads)
		w.visit(next)
	}
	if n.appoint != 0 {
		next := s
		next.nodes[i].appoint = 0
		_ = next.nodes[i].holder.Appoint(n.appoint)
		w.visit(next)
	}
	if n.release != 0 {
		next := s
		m := &next.nodes[i]
		m.release, m.answer = 0, n.release
		m.holder.Release(n.release)
		if w.defect == noReleaseFence {
			m.holder = NewHolder(w.rules().MaxDrift)
			_ = m.holder.Appoint(n.holder.Appointment())
		}
		w.visit(next)
	}
	if n.answer != 0 {
		next := s
		next.nodes[i].answer = 0
		next.granter.Release(pinetree.NodeID(i+1), n.answer)
		w.visit(next)
	}
}

func (w *walk) answerClaim(s walkState, i int, request walkRequest) {
	if w.defect == noWaitAtAll {
		s.granter.free = 0
	}
	grant, verdict := s.granter.Ask(request.claim, w.clock(&s, 2))
	if verdict == RecordFirst {
		s.granter.Recorded(s.granter.Activation(request.claim))
		grant, verdict = s.granter.Ask(request.claim, w.clock(&s, 2))
	}
	if verdict == Granted && s.nodes[i].grant == (Grant{}) {
		s.nodes[i].grant, s.nodes[i].asked = grant, request.asked
	}
	w.visit(s)
}

// walkAll walks with each clock at each end of the drift bound.
func walkAll(d defect, limits walkLimits) (states int, failure string) {
	for combination := range 8 {
		w := walk{defect: d, limits: limits, visited: map[walkState]struct{}{}}
		for machine := range w.rates {
			w.rates[machine] = 1 + 2*int8(combination>>machine&1)
		}
		w.run()
		states += len(w.visited)
		if w.failure != "" {
			return states, w.failure
		}
	}
	return states, ""
}

func TestNoReachableStateHasTwoHolders(t *testing.T) {
	for _, limits := range []walkLimits{
		{ticks: 3, moves: 1, terms: 3, failovers: 1},
		{ticks: 2, moves: 1, terms: 3, restarts: 1},
	} {
		states, failure := walkAll(noDefect, limits)
		if failure != "" {
			t.Fatal(failure)
		}
		t.Logf("%d states within %+v", states, limits)
	}
}

func TestTheWalkCatchesEveryDefect(t *testing.T) {
	for d := countFromReceipt; d <= releaseUnasked; d++ {
		t.Run(d.String(), func(t *testing.T) {
			states, failure := walkAll(d, walkLimits{ticks: 3, moves: 1, terms: 3, failovers: 1})
			if failure == "" {
				t.Fatalf("not caught in %d states", states)
			}
			t.Logf("after %d states: %s", states, failure)
		})
	}
}
