package reign

import (
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/grants"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/lease"
)

// claim decides what the node that says it leads the group is granted, and adds
// it to the reply. An activation is recorded first; the grant then follows by
// itself, as an answer to the newest heartbeat.
func (r *Reign) claim(g *group, n *node, to *grants.Bundle) {
	now := r.cfg.Clock()
	status := n.replicas[g.id]
	if status == nil || !status.GetLeader() || status.GetStopped() != "" || status.GetQuiet() || !r.owner.Claimed(now) {
		return
	}
	since := now.Sub(n.reported)
	c := lease.Claim{
		Node:         n.Is.ID,
		Appointment:  pinetree.AppointmentID(status.GetAppointment()),
		Term:         pinetree.RaftTerm(status.GetRaftTerm()),
		QuorumAge:    time.Duration(status.GetQuorumAgeMs())*time.Millisecond + since,
		FsyncAge:     n.FsyncAge + since,
		FsyncPending: n.FsyncPending,
	}
	if c.FsyncPending > 0 {
		c.FsyncPending += since
	}
	grant, verdict := g.granter.Ask(c, now)
	if n.Is.ID == g.Is.Lease.Node {
		if verdict != g.verdict && verdict != lease.RecordFirst {
			r.log.Info("lease", "group", g.id, "node", n.Is.ID, "appointment", c.Appointment, "raft_term", c.Term, "verdict", verdict.String())
		}
		g.verdict, g.claimed = verdict, true
		g.waiting = verdict == lease.HeldElsewhere
	}
	switch verdict {
	case lease.RecordFirst:
		r.activate(g, n, c)
	case lease.Granted:
		grant.Group = g.id
		g.grants++
		to.Grant(grant)
	}
}

// claimAgain decides the claim of the appointed node anew, between heartbeats,
// when what it waited for has happened.
func (r *Reign) claimAgain(g *group) {
	n := r.nodes[g.Is.Lease.Node]
	if n == nil || n.session == nil || n.session.sequence == 0 {
		return
	}
	a := grants.Bundle{Sequence: n.session.sequence}
	if r.claim(g, n, &a); len(a.Grants) > 0 {
		r.push(n.session, a)
	}
}

// activate records that the node leads in its raft term, before it is granted
// the lease for the first time.
func (r *Reign) activate(g *group, n *node, c lease.Claim) {
	if g.activating {
		return
	}
	g.activating = true
	var next ledger.Group
	prepare := func() (d ledger.Decision, _ error) {
		if _, v := g.granter.Ask(c, r.cfg.Clock()); v != lease.RecordFirst {
			return d, fmt.Errorf("activation overtaken: %s", v)
		}
		next = g.Is
		next.Lease = g.granter.Activation(c)
		return ledger.Decide(ledger.Event{Kind: "activated", Group: g.id, Node: n.Is.ID, Appointment: c.Appointment,
			Cause: "its leader proved a quorum and a disk, and nobody else holds the lease", Outcome: fmt.Sprintf("raft term %d", c.Term)},
			g.Put(next.Key(), next)), nil
	}
	commit := func(revision int64) {
		g.Is, g.Revision = next, revision
		g.granter.Recorded(next.Lease)
		g.activated = r.cfg.Clock()
		g.reason = ""
	}
	r.spawn(func() {
		err := r.persist(r.ctx, prepare, commit)
		r.tell(func() {
			g.activating = false
			if err == nil {
				r.claimAgain(g)
			}
		})
	})
}

// answered counts from here on for what a reply has granted.
func (r *Reign) answered(a grants.Bundle) {
	now := r.cfg.Clock()
	for _, grant := range a.Grants {
		if g := r.groups[grant.Group]; g != nil {
			g.granter.Answered(grant.Appointment, now)
		}
	}
}

// released takes note of a lease that a node has given up, and lets the next
// one have it at once.
func (r *Reign) released(g *group, from pinetree.NodeID, id pinetree.AppointmentID) {
	if id == 0 {
		return
	}
	held := g.granter.Left(r.cfg.Clock()) > 0
	g.granter.Release(from, id)
	if held && g.granter.Left(r.cfg.Clock()) == 0 {
		r.event(ledger.Event{Kind: "released", Group: g.id, Node: from, Appointment: id, Cause: "its holder gave up the lease"})
		if g.waiting {
			r.claimAgain(g)
		}
	}
}
