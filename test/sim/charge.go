package sim

import (
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/group"
)

type replicaStatus = group.Status

// charge is a group that the active manager looks after.
type charge struct {
	m        *manager
	group    pinetree.GroupID
	granter  lease.Granter
	revision uint64
	reports  []report      // by node
	since    lease.Instant // all was well, or somebody was appointed
	byMove   bool          // the newest appointment waits for a transfer
	writing  bool
}

// claim decides what a node that says it leads is granted.
func (c *charge) claim(n *node, h heartbeatMessage, s replicaStatus) (lease.Grant, bool) {
	if !s.Leader {
		return lease.Grant{}, false
	}
	w := c.m.w
	grant, verdict := c.granter.Ask(lease.Claim{
		Node: n.id, Appointment: s.Appointment, Term: s.RaftTerm,
		QuorumAge: s.QuorumAge, FsyncPending: h.fsync,
	}, c.m.local())
	switch verdict {
	case lease.Granted:
		grant.Group = c.group
		return grant, true
	case lease.RecordFirst:
		if !c.writing {
			c.write(c.granter.Activation(lease.Claim{Node: n.id, Appointment: s.Appointment, Term: s.RaftTerm}), nil)
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

// well tells whether the appointed node leads and is fit to.
func (c *charge) well(r lease.Record) bool {
	if r.Node == 0 {
		return false
	}
	s := c.reports[r.Node-1]
	return c.fresh(s) && s.status.Leader && s.status.Appointment == r.Appointment && s.status.Released < r.Appointment &&
		s.status.QuorumAge <= c.m.w.plan.detect && s.fsync <= c.m.w.plan.detect
}

func (c *charge) fresh(r report) bool {
	return r.heard != 0 && c.m.local().Sub(r.heard) <= c.m.w.plan.detect
}

// decide looks after the group.
func (c *charge) decide() {
	w, now, r := c.m.w, c.m.local(), c.granter.Record()
	switch {
	case c.writing:
		return
	case c.well(r):
		c.since, c.byMove = now, false
		if w.chance(w.plan.moves) && !w.calm {
			c.move(r)
		}
		return
	case r.Node != 0 && now.Sub(c.since) < w.plan.patience:
		c.remind(r)
		return
	}
	best, ok := c.best()
	if !ok {
		return
	}
	if w.plan.waitFirst && !c.granter.Free(best, now) {
		c.askRelease(r)
		return
	}
	c.appoint(best)
}

// best is the replica that surely can lead: among the answers of a quorum the
// one with the highest (raft term, index), or the one that leads already.
func (c *charge) best() (pinetree.NodeID, bool) {
	var found []choice
	for i, r := range c.reports {
		if c.fresh(r) {
			found = append(found, choice{pinetree.NodeID(i + 1), r.status})
		}
	}
	if len(found) <= len(c.reports)/2 {
		return 0, false
	}
	if c.m.w.cfg.Mutant == BlindChoice {
		return found[len(found)-1].node, true
	}
	best := found[0]
	for _, f := range found[1:] {
		if f.better(best, c.m.w.plan.detect) {
			best = f
		}
	}
	return best.node, true
}

func (f choice) better(than choice, detect time.Duration) bool {
	a, b := f.status, than.status
	leads := func(s replicaStatus) bool { return s.Leader && s.QuorumAge <= detect }
	switch {
	case leads(a) != leads(b):
		return leads(a)
	case leads(a) && a.RaftTerm != b.RaftTerm:
		return a.RaftTerm > b.RaftTerm
	case a.LastTerm != b.LastTerm:
		return a.LastTerm > b.LastTerm
	}
	return a.LastIndex > b.LastIndex
}

// appoint records a new appointment and tells the node.
func (c *charge) appoint(to pinetree.NodeID) {
	r := c.granter.Record()
	if r.Node != 0 && r.Node != to {
		c.m.w.mark(Failover)
	}
	r.Appointment++
	r.Node = to
	c.m.w.note(c.m.name, "appoints: group, node, appointment", uint64(c.group), uint64(to), uint64(r.Appointment))
	c.write(r, func() {
		c.since, c.byMove = c.m.local(), false
		c.tell(group.Appointment{ID: r.Appointment}, to)
	})
}

// remind tells a node again that does not know of its appointment.
func (c *charge) remind(r lease.Record) {
	s := c.reports[r.Node-1]
	if c.fresh(s) && s.status.Appointment < r.Appointment {
		c.tell(group.Appointment{ID: r.Appointment, Wait: c.byMove}, r.Node)
	}
}

func (c *charge) tell(a group.Appointment, to pinetree.NodeID) {
	n := c.m.w.nodes[to-1]
	c.m.nodeCall(n, func(func(func())) {
		n.member(c.group).post(func(r *group.Replica) { r.Appoint(a, func(error) {}) })
	})
}

// askRelease asks a holder that still answers to give up its lease.
func (c *charge) askRelease(r lease.Record) {
	if r.Holder == 0 || !c.fresh(c.reports[r.Holder-1]) {
		return
	}
	n, held := c.m.w.nodes[r.Holder-1], r.Held
	c.m.nodeCall(n, func(answer func(func())) {
		n.member(c.group).post(func(r *group.Replica) { r.Release(held) })
		answer(func() {
			c.m.w.mark(ReleaseAsked)
			c.granter.Release(n.id, held)
		})
	})
}

// move hands a group over to another node: the record first, then the transfer,
// which releases the lease.
func (c *charge) move(r lease.Record) {
	w, from := c.m.w, r.Node
	to := pick(w, w.nodes).id
	if to == from || !c.fresh(c.reports[to-1]) {
		return
	}
	old := r.Appointment
	r.Appointment++
	r.Node = to
	w.note(c.m.name, "moves: group, from, to", uint64(c.group), uint64(from), uint64(to))
	c.write(r, func() {
		c.since, c.byMove = c.m.local(), true
		c.tell(group.Appointment{ID: r.Appointment, Wait: true}, to)
		n := w.nodes[from-1]
		order := group.TransferOrder{Appointment: old, To: to}
		if w.chance(0.3) {
			order.MaxPause = w.span(between{time.Millisecond, 40 * time.Millisecond})
		}
		c.m.nodeCall(n, func(answer func(func())) {
			m := n.member(c.group)
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
