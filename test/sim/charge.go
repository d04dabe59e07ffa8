package sim

import (
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// charge is a group that the active manager looks after. What it needs and who
// is to lead is decided by package policy, and what is granted by lease.
type charge struct {
	m        *manager
	group    pinetree.GroupID
	granter  lease.Granter
	revision uint64
	reports  []report      // by node
	busy     lease.Instant // an appointment may take until here
	byMove   bool          // it waits for a transfer
	writing  bool
}

// claim decides what a node that says it leads is granted.
func (c *charge) claim(n *node, h heartbeatMessage, s *wirepb.ReplicaStatus) (lease.Grant, bool) {
	if !s.GetLeader() || s.GetQuiet() {
		return lease.Grant{}, false
	}
	w := c.m.w
	claim := lease.Claim{
		Node: n.id, Appointment: pinetree.AppointmentID(s.GetAppointment()), Term: pinetree.RaftTerm(s.GetRaftTerm()),
		QuorumAge: time.Duration(s.GetQuorumAgeMs()) * time.Millisecond, FsyncPending: h.fsync,
	}
	grant, verdict := c.granter.Ask(claim, c.m.local())
	switch verdict {
	case lease.Granted:
		grant.Group = c.group
		return grant, true
	case lease.RecordFirst:
		if w.cfg.Mutant == GrantBeforeRecord {
			c.granter.Recorded(c.granter.Activation(claim))
			return c.claim(n, h, s)
		}
		if !c.writing {
			c.write(c.granter.Activation(claim), nil)
		}
	case lease.HeldElsewhere:
		w.mark(GrantWaits)
		if w.cfg.Mutant == NoLeaseWait {
			c.granter.Release(c.granter.Record().Holder, c.granter.Record().Held)
		}
	case lease.QuorumStale:
		w.mark(QuorumStale)
	case lease.DiskStale:
		w.mark(DiskStale)
	case lease.Superseded, lease.OldTerm, lease.WasReleased:
		w.mark(ClaimRefused)
	}
	return lease.Grant{}, false
}

// write makes a record durable before anything is done on its strength.
func (c *charge) write(r lease.Record, then func()) {
	c.writing = true
	m, session := c.m, c.m.session
	next := stored{record: r, revision: c.revision + 1}
	m.ask(func() func() {
		written := m.w.etcd.write(session, c.group, next, m.w.now)
		return func() {
			c.writing = false
			if !written {
				m.stepDown("could not write")
				return
			}
			c.revision = next.revision
			c.granter.Recorded(r)
			if then != nil {
				then()
			}
		}
	}, func() { m.stepDown("does not know what became of a write") })
}

// situation is all that is known of the group.
func (c *charge) situation() policy.Situation {
	s := policy.Situation{Record: c.granter.Record(), Created: true, Sick: c.m.w.plan.sick}
	now := c.m.local()
	for _, n := range c.m.w.voters(c.group) {
		i := int(n.id - 1)
		r := c.reports[i]
		s.Members = append(s.Members, policy.Member{
			Node: n.id, Health: c.m.health(i), Reported: r.heard != 0,
			Status: r.status, Age: now.Sub(r.heard), FsyncPending: r.fsync,
		})
	}
	return s
}

// decide looks after the group.
func (c *charge) decide() {
	w, r := c.m.w, c.granter.Record()
	if c.writing {
		return
	}
	step := policy.Decide(c.situation())
	switch {
	case step.Action == policy.Rest && step.Reason == "":
		c.busy, c.byMove = 0, false
		if w.chance(w.plan.moves) && !w.calm {
			c.move(r)
		}
	case step.Action == policy.Rest:
	case c.m.local() < c.busy:
		c.remind(r)
	case step.Action == policy.Adopt:
		w.mark(Adopted)
		c.appoint(step.Node)
	case step.Action == policy.Elect:
		c.elect(step)
	}
}

// elect appoints the replica that the policy chooses.
func (c *charge) elect(step policy.Step) {
	w := c.m.w
	var answers []policy.Answer
	voters := w.voters(c.group)
	for _, n := range voters {
		if r := c.reports[n.id-1]; c.m.health(int(n.id-1)) == policy.Alive && r.status != nil {
			answers = append(answers, policy.Answer{Node: n.id, Status: r.status})
		}
	}
	chosen, err := policy.Choose(answers, policy.Wish{Voters: len(voters), Not: step.Node, Fresh: w.plan.rules.MaxQuorumAge})
	if err != nil {
		return
	}
	if w.cfg.Mutant == BlindChoice {
		chosen = answers[len(answers)-1]
	}
	c.appoint(chosen.Node)
}

// newest is the highest appointment that anybody has heard of.
func (c *charge) newest() pinetree.AppointmentID {
	highest := c.granter.Record().Appointment
	for _, r := range c.reports {
		highest = max(highest, pinetree.AppointmentID(r.status.GetAppointment()), pinetree.AppointmentID(r.status.GetReleased()))
	}
	return highest
}

// appoint records a new appointment and tells the node.
func (c *charge) appoint(to pinetree.NodeID) {
	r := c.granter.Record()
	if r.Node != 0 && r.Node != to {
		c.m.w.mark(Failover)
	}
	r.Appointment = c.newest() + 1
	r.Node = to
	c.m.w.note(c.m.name, "appoints: group, node, appointment", uint64(c.group), uint64(to), uint64(r.Appointment))
	c.write(r, func() {
		now := c.m.local()
		c.busy, c.byMove = now.Add(c.m.w.plan.patience), false
		if c.m.w.plan.waitFirst {
			c.busy = c.busy.Add(c.granter.Left(now))
		}
		c.askRelease(r)
		c.remind(r)
	})
}

// remind tells a node that does not know of its appointment, in some worlds not
// before the lease of the leader before is over.
func (c *charge) remind(r lease.Record) {
	if c.m.w.plan.waitFirst && !c.granter.Free(r.Node, c.m.local()) {
		return
	}
	if pinetree.AppointmentID(c.reports[r.Node-1].status.GetAppointment()) < r.Appointment {
		c.tell(group.Appointment{ID: r.Appointment, Wait: c.byMove}, r.Node)
	}
}

func (c *charge) tell(a group.Appointment, to pinetree.NodeID) {
	n := c.m.w.nodes[to-1]
	c.m.nodeCall(n, func(func(func())) {
		n.post(c.group, func(r *group.Replica) { r.Appoint(a, func(error) {}) })
	})
}

// askRelease asks a holder that is replaced, and still answers, to give up its
// lease.
func (c *charge) askRelease(r lease.Record) {
	if r.Holder == 0 || r.Holder == r.Node || c.m.health(int(r.Holder-1)) != policy.Alive {
		return
	}
	n, held := c.m.w.nodes[r.Holder-1], r.Held
	c.m.w.note(c.m.name, "asks for the release of: group, node, appointment", uint64(c.group), uint64(n.id), uint64(held))
	c.takeForAnswer(n, held)
	c.m.nodeCall(n, func(answer func(func())) {
		n.post(c.group, func(r *group.Replica) { r.Release(held) })
		answer(func() {
			c.m.w.mark(ReleaseAsked)
			c.granter.Release(n.id, held)
		})
	})
}

// takeForAnswer is a bug put in on purpose: an order to release is taken for the
// release itself.
func (c *charge) takeForAnswer(n *node, held pinetree.AppointmentID) {
	if c.m.w.cfg.Mutant == ReleaseUnasked {
		c.granter.Release(n.id, held)
	}
}

// move hands a group over to another node: the record first, then the transfer,
// which releases the lease.
func (c *charge) move(r lease.Record) {
	w, from := c.m.w, r.Node
	to := pick(w, w.voters(c.group)).id
	if to == from || c.m.health(int(to-1)) != policy.Alive {
		return
	}
	old := r.Appointment
	r.Appointment = c.newest() + 1
	r.Node = to
	w.note(c.m.name, "moves: group, from, to", uint64(c.group), uint64(from), uint64(to))
	c.write(r, func() {
		c.busy, c.byMove = c.m.local().Add(w.plan.patience), true
		c.tell(group.Appointment{ID: r.Appointment, Wait: true}, to)
		n := w.nodes[from-1]
		order := group.TransferOrder{Appointment: old, To: to}
		if w.chance(0.3) {
			order.MaxPause = w.span(between{time.Millisecond, 40 * time.Millisecond})
		}
		c.takeForAnswer(n, old)
		c.m.nodeCall(n, func(answer func(func())) {
			m := n.member(c.group)
			if m == nil {
				return
			}
			m.post(func(r *group.Replica) {
				r.Transfer(order, func(t group.TransferResult, err error) {
					if t.Released && !t.Transferred {
						m.aborts++
					}
					answer(func() { c.moved(n.id, old, t, err) })
				})
			})
		})
	})
}

// moved takes the end of a transfer.
func (c *charge) moved(from pinetree.NodeID, old pinetree.AppointmentID, t group.TransferResult, err error) {
	w := c.m.w
	w.note(c.m.name, "moved: group, released, transferred", uint64(c.group), bit(t.Released), bit(t.Transferred))
	if t.Released {
		c.granter.Release(from, old)
	}
	switch {
	case err == nil && t.Transferred:
		w.mark(TransferDone)
	case err == nil && t.Released:
		w.mark(TransferAborted)
	default:
		w.mark(TransferRefused)
	}
	if !t.Transferred && c.byMove && !c.writing {
		c.appoint(from)
	}
}
