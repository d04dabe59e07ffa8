package walk

import (
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/lease"
)

// calmRounds is for how many ticks nothing goes wrong before a group must have a
// leader that holds the lease: those that a new manager waits, those for which a
// slow one waits out a lease, and a few for what must come after the other.
const calmRounds = 12

// recovery looks from every state at what comes when nothing goes wrong any more:
// all messages arrive, the manager in office decides, and who is appointed is
// elected.
func (w *Walk) recovery(s state) {
	begin := s
	for range calmRounds {
		if w.serves(&s) {
			return
		}
		w.calm(&s)
	}
	if !w.serves(&s) {
		w.fail(begin, "no leader holds the lease after %d calm ticks, but it has come to %s", calmRounds, fmt.Sprintf("%+v, from", s))
	}
}

// serves tells whether the group is as it must be.
func (w *Walk) serves(s *state) bool {
	r := s.managers[s.office].granter.Record()
	if r.Node == 0 {
		return false
	}
	n := &s.nodes[r.Node-1]
	return n.leads == s.term && n.ready && n.holder.Appointment() == r.Appointment && w.believes(s, int(r.Node)-1)
}

func (w *Walk) calm(s *state) {
	s.ticks++
	at := int(s.office)
	m := &s.managers[at]
	if at == 1 {
		s.managers[0] = manager{}
	}
	m.claimed = w.office(s, at).Add(w.claimTime(-maxDrift))
	if m.writing {
		w.recorded(s, at)
	}
	r := m.granter.Record()
	for i := range s.nodes {
		n := &s.nodes[i]
		_ = n.holder.Appoint(n.order)
		n.holder.Release(n.release)
		n.holder.Use(n.grant, n.asked, n.leads)
		n.order, n.release, n.grant, n.asked = 0, 0, lease.Grant{}, 0
		if n.leads < s.term {
			n.leads, n.reached, n.ready = 0, 0, false
		}
		if n.leads == 0 && int(r.Node) == i+1 && n.holder.Appointment() == r.Appointment {
			s.term++
			n.leads = s.term
		}
	}
	for i := range s.nodes {
		n := &s.nodes[i]
		if n.leads == s.term {
			n.reached = 1 + s.length
		}
		if n.reached != 0 && n.holder.Activated(n.leads) {
			n.ready, n.commit = true, max(n.commit, n.reached-1)
		}
		w.claim(s, at, pinetree.NodeID(i+1))
		n.holder.Use(n.grant, n.asked, n.leads)
		n.grant, n.asked = lease.Grant{}, 0
	}
	to := w.wishOf(s, m.granter.Record()).choose([2]policy.Health{})
	if to != 0 && !m.writing {
		m.writing, m.next = true, appointed(m.granter.Record(), to)
		s.stored = m.next
	}
}
