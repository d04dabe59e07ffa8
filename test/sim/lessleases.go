package sim

import (
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/group"
)

// granted is what the managers have granted to a replica in this life of its
// node, for the bugs put in on purpose that treat it otherwise than the replica.
type granted struct {
	term pinetree.RaftTerm // highest that a grant counted for
	late lease.Instant     // end of a lease that counts although it was released
	in   pinetree.RaftTerm // whose
	last lease.Instant     // end of the last lease, whatever the raft term
}

// note takes a grant, and whether the replica let it count.
func (g *granted) note(m *member, grant lease.Grant, asked lease.Instant, counts bool) {
	end := asked.Add(time.Duration(float64(grant.Duration) * (1 - m.node.w.plan.options.MaxDrift)))
	if counts {
		g.term, g.last = max(g.term, grant.Term), max(g.last, end)
	} else if role := m.replica.Role(); role.Leads && role.Term == grant.Term && grant.Appointment <= role.Released {
		g.late, g.in = end, grant.Term
	}
}

// really tells whether a manager has activated the leader, whatever it thinks.
func (m *member) really() bool { return m.role.Leads && m.granted.term == m.role.Term }

// activatesItself tells whether a new leader does not wait for the manager.
func (m *member) activatesItself() bool {
	switch m.node.w.cfg.Mutant {
	case SelfActivation, EarlyReadIndex, EarlyCommit:
		return true
	case TermlessLease:
		return m.granted.term != 0
	}
	return false
}

// activateItself lets a leader believe that a manager has activated it, without
// any lease.
func (m *member) activateItself() {
	s, err := m.replica.Status()
	if err != nil {
		return
	}
	m.post(func(r *group.Replica) {
		r.Grant(lease.Grant{Group: m.group, Appointment: s.Appointment, Term: s.RaftTerm}, m.node.local())
	})
}

// keepsToItself tells that a leader that activated itself acknowledges nothing.
func (m *member) keepsToItself() bool {
	mutant := m.node.w.cfg.Mutant
	return (mutant == EarlyReadIndex || mutant == EarlyCommit) && !m.really()
}

// answersNobody tells that such a leader answers no quorum read either.
func (m *member) answersNobody() bool {
	return m.node.w.cfg.Mutant == EarlyCommit && m.role.Leads && !m.really()
}

// holds tells whether a read that is at the view goes on under the lease.
func (m *member) holds(v group.View) bool {
	now := m.node.local()
	switch m.node.w.cfg.Mutant {
	case NoLeaseCheck:
		return true
	case CachedLeaseCheck:
		return v.Lease != 0
	case ReleaseNotForGood:
		return now < v.Lease || v.Term == m.granted.in && now < m.granted.late
	case TermlessLease:
		return now < v.Lease || now < m.granted.last
	}
	return now < v.Lease
}

// leads tells whether a view is that of a leader that may answer reads.
func (m *member) leads(v group.View) bool {
	switch m.node.w.cfg.Mutant {
	case NoLeaseCheck:
		return true
	case NotReady:
		return m.role.Leads && m.role.Activated
	}
	return v.Leads
}
