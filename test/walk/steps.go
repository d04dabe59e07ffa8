package walk

import (
	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// deliver brings each message on its way to its end. One that never is, is as if
// lost; those are lost here whose place another one may take.
func (w *Walk) deliver(s state, i int) {
	n := s.nodes[i]
	for m := range s.managers {
		if s.managers[m].believes {
			w.hear(s, m, pinetree.NodeID(i+1))
		}
	}
	if n.grant != (lease.Grant{}) {
		next := s
		to := &next.nodes[i]
		to.grant, to.asked = lease.Grant{}, 0
		w.visit(next)
		asked := n.asked
		if w.without(CountFromBefore) {
			asked = w.clock(&s, i)
		}
		to.holder.Use(n.grant, asked, n.leads)
		w.visit(next)
	}
	if n.order != 0 {
		next := s
		next.nodes[i].order = 0
		_ = next.nodes[i].holder.Appoint(n.order)
		w.visit(next)
	}
	if n.release != 0 {
		next := s
		to := &next.nodes[i]
		to.release = 0
		to.holder.Release(n.release)
		if w.without(ReleaseFence) {
			released := to.holder.Released()
			to.holder = lease.NewHolder(w.limits.drift())
			_ = to.holder.Appoint(n.holder.Appointment())
			next = w.tellRelease(next, i, released)
		}
		w.visit(next)
	}
}

// tellRelease lets the managers hear of a release that the node itself forgets.
func (w *Walk) tellRelease(s state, i int, id pinetree.AppointmentID) state {
	for m := range s.managers {
		if s.managers[m].believes {
			s.managers[m].granter.Release(pinetree.NodeID(i+1), id)
		}
	}
	return s
}

// hear is a heartbeat that arrives at a manager. What is late here is the answer.
func (w *Walk) hear(s state, at int, from pinetree.NodeID) {
	w.claim(&s, at, from)
	w.visit(s)
}

// claim is what a manager makes of a heartbeat: it hears of releases, grants, or
// begins to record an activation.
func (w *Walk) claim(s *state, at int, from pinetree.NodeID) {
	m, n := &s.managers[at], &s.nodes[from-1]
	now := w.office(s, at)
	c := lease.Claim{Node: from, Appointment: n.holder.Appointment(), Term: n.leads}
	m.granter.Release(c.Node, n.holder.Released())
	if c.Term == 0 || now >= m.claimed && !w.without(Claim) {
		return
	}
	if r := m.granter.Record(); w.without(Wait) && c.Node != r.Holder {
		m.granter.Release(r.Holder, r.Held)
	}
	grant, verdict := m.granter.Ask(c, now)
	if verdict == lease.RecordFirst && w.without(Recorded) {
		m.granter.Recorded(m.granter.Activation(c))
		grant, verdict = m.granter.Ask(c, now)
	}
	switch {
	case verdict == lease.RecordFirst:
		w.write(s, at, m.granter.Activation(c))
	case verdict == lease.Granted && n.grant == (lease.Grant{}):
		n.grant, n.asked = grant, w.clock(s, int(from)-1)
	}
}

// write puts a record into etcd, of which the manager hears later or never.
func (w *Walk) write(s *state, at int, r lease.Record) {
	m := &s.managers[at]
	if m.writing || int(s.office) != at && !w.without(Swap) {
		return
	}
	m.writing, m.next = true, r
	s.stored = r
}

func (w *Walk) managerSteps(s state, at int) {
	m := s.managers[at]
	if !m.believes {
		return
	}
	now := w.office(&s, at)
	if int(s.office) == at { // it asks whether it is in office, and hears so at once or late
		next := s
		next.managers[at].claimed = max(m.claimed, now.Add(w.claimTime(-maxDrift)))
		w.visit(next)
	} else { // it crashes, or finds out
		next := s
		next.managers[at] = manager{}
		w.visit(next)
	}
	if m.writing {
		next := s
		w.recorded(&next, at)
		w.visit(next)
		return
	}
	r := m.granter.Record()
	if r.Node != r.Holder && r.Holder != 0 {
		next := s
		next.nodes[r.Holder-1].release = r.Held
		if w.without(ReleaseAnswer) {
			next.managers[at].granter.Release(r.Holder, r.Held)
		}
		w.visit(next)
	}
	if int8(r.Appointment) >= w.limits.Appointments {
		return
	}
	for i, wanted := range w.wanted(&s, r) {
		if wanted {
			next := s
			w.write(&next, at, appointed(r, pinetree.NodeID(i+1)))
			w.visit(next)
		}
	}
}

// recorded is a manager that hears that its record is written, and orders what it
// says.
func (w *Walk) recorded(s *state, at int) {
	m := &s.managers[at]
	if m.next.Appointment > m.granter.Record().Appointment {
		to := &s.nodes[m.next.Node-1]
		to.order = max(to.order, m.next.Appointment)
	}
	m.granter.Recorded(m.next)
	m.writing, m.next = false, lease.Record{}
}

// wanted are the nodes that the policy would appoint, whatever it may think of
// their health, and those that an operator may have the leader moved to.
func (w *Walk) wanted(s *state, r lease.Record) [2]bool {
	key := w.wishOf(s, r)
	if wanted, known := w.wishes[key]; known {
		return wanted
	}
	var wanted [2]bool
	for a := policy.Alive; a <= policy.Dead; a++ {
		for b := policy.Alive; b <= policy.Dead; b++ {
			if to := key.choose([2]policy.Health{a, b}); to != 0 {
				wanted[to-1] = true
			}
		}
	}
	for i, leader := range key.reports {
		if leader.leads != 0 && leader.appointment == r.Appointment && int(r.Node) == i+1 {
			wanted[1-i] = true // a planned move
		}
	}
	w.wishes[key] = wanted
	return wanted
}

// wishOf is what the policy goes by now.
func (w *Walk) wishOf(s *state, r lease.Record) wish {
	k := wish{record: r}
	for i := range s.nodes {
		k.reports[i] = report{s.nodes[i].leads, s.nodes[i].holder.Appointment()}
	}
	return k
}

// choose is whom the policy appoints; zero when it leaves things as they are, or
// finds nobody. The third member, which may not lead here, has an older log.
func (k wish) choose(health [2]policy.Health) pinetree.NodeID {
	situation := policy.Situation{Record: k.record, Created: true, Sick: 1}
	third := policy.Answer{Node: 3, Status: &wirepb.ReplicaStatus{}}
	answers := []policy.Answer{third}
	for i, said := range k.reports {
		a := policy.Answer{Node: pinetree.NodeID(i + 1), Status: &wirepb.ReplicaStatus{
			Leader: said.leads != 0, Ready: said.leads != 0, RaftTerm: uint64(said.leads), Appointment: uint64(said.appointment),
			LastTerm: 1, LastIndex: 1,
		}}
		if health[i] == policy.Alive {
			answers = append(answers, a)
		}
		situation.Members = append(situation.Members, policy.Member{Node: a.Node, Health: health[i], Reported: true, Status: a.Status})
	}
	situation.Members = append(situation.Members, policy.Member{Node: 3, Reported: true, Status: third.Status})
	step := policy.Decide(situation)
	switch step.Action {
	case policy.Adopt:
		return step.Node
	case policy.Elect:
		chosen, err := policy.Choose(answers, policy.Wish{Voters: 3, Not: step.Node, Fresh: 1})
		if err == nil && chosen.Node < 3 {
			return chosen.Node
		}
	}
	return 0
}

// takeOffice makes the second manager the active one. The first lives on.
func (w *Walk) takeOffice(s state) {
	s.office = 1
	since := w.office(&s, 1).Add(w.claimTime(maxDrift))
	if w.without(WaitAfterFailover) {
		since = 0
	}
	s.managers[1] = manager{believes: true, granter: lease.NewGranter(w.limits.rules(), s.stored, since)}
	w.visit(s)
}
