package group

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/membership"
)

// campaign is an appointment that this replica tries to follow.
type campaign struct {
	id   pinetree.AppointmentID // zero when there is none
	wait bool                   // leadership comes by transfer: do not ask for votes
	next lease.Instant          // when to ask for votes (again)
	late bool                   // next is to be counted from the next turn
	done func(error)
}

// end answers the one who appointed, if anybody waits.
func (c *campaign) end(err error) {
	if c.done != nil {
		c.done(err)
	}
	*c = campaign{}
}

// Appointment is the manager's order to lead.
type Appointment struct {
	ID pinetree.AppointmentID
	// Wait tells that leadership is being transferred here: take note of the
	// appointment, and do not ask for votes.
	Wait bool
}

// Appoint makes this replica lead: it asks for votes until it leads, a newer
// appointment comes, or Unappoint. done hears the end. Raft's own rules still
// hold: a replica that lacks committed entries is not elected.
func (r *Replica) Appoint(a Appointment, done func(error)) {
	if why := r.ended(); why != nil {
		done(why)
		return
	}
	if err := r.holder.Appoint(a.ID); err != nil {
		done(err)
		return
	}
	if r.lead.term != 0 {
		done(nil)
		return
	}
	r.appoint.end(fmt.Errorf("%w: %d follows", pinetree.ErrStaleAppointment, a.ID))
	r.appoint = campaign{id: a.ID, wait: a.Wait, next: r.now, done: done}
}

// Unappoint ends the try to follow an appointment.
func (r *Replica) Unappoint(id pinetree.AppointmentID, why error) {
	if r.appoint.id == id {
		r.appoint.end(why)
	}
}

// campaignIfDue asks for votes. Raft sends each request once and tells nothing
// when it does not, so success is seen in the role alone. First it reads what is
// committed and not replayed, which may take longer than votes do: they have their
// time from the next turn on.
func (r *Replica) campaignIfDue() {
	if r.appoint.id == 0 || r.appoint.wait {
		return
	}
	if r.appoint.late {
		r.appoint.late, r.appoint.next = false, r.now.Add(r.opt.CampaignRetry)
	}
	if r.now < r.appoint.next {
		return
	}
	r.appoint.late, r.appoint.next = true, r.now.Add(r.opt.CampaignRetry)
	if err := r.rn.Campaign(); err != nil {
		r.log.Warn("campaign", "err", err)
	}
}

// lookAtRole follows raft between two turns: what was received since may have
// deposed this leader, and raft would drop its proposals.
func (r *Replica) lookAtRole() {
	r.basic = r.rn.BasicStatus()
	r.followRole()
}

// followRole takes note of what raft made of this replica.
func (r *Replica) followRole() {
	if r.stopped != nil {
		return // whatever raft believes, this replica leads no more
	}
	term := pinetree.RaftTerm(r.basic.HardState.GetTerm())
	leads := r.basic.RaftState == raft.StateLeader
	if r.lead.term != 0 && (!leads || r.lead.term != term) {
		r.loseLead(nil)
	}
	if leads && r.lead.term == 0 {
		r.lead = leadership{
			term: term, since: r.now, rest: rest{since: r.now},
			contact: map[pinetree.NodeID]lease.Instant{}, early: map[pinetree.NodeID]*raftpb.Message{},
		}
		r.log.Info("leads", "raft_term", term, "appointment", r.holder.Appointment())
		r.appoint.end(nil)
	}
	if r.lead.first != 0 && !r.lead.ready && r.position.Index >= r.lead.first {
		r.lead.ready = true
		r.openQueues()
	}
	r.retryOpens()
}

// toLead tells that this replica is about to be a ready leader: it was appointed,
// or leads and has not applied an entry of its own raft term.
func (r *Replica) toLead() bool {
	if r.lead.term == 0 {
		return r.stopped == nil && r.appoint.id != 0
	}
	return r.stopped == nil && !r.lead.ready
}

// retryOpens lets those open that came before this replica was a ready leader, or
// lets them hear that it is none.
func (r *Replica) retryOpens() {
	if len(r.opens) == 0 || r.toLead() {
		return
	}
	opens := r.opens
	r.opens = nil
	for _, open := range opens {
		open()
	}
}

// loseLead ends the leader's state.
func (r *Replica) loseLead(why error) {
	if r.lead.term == 0 {
		return
	}
	r.log.Info("leads no longer", "raft_term", r.lead.term)
	r.lead = leadership{}
	if why == nil {
		why = r.successor()
	}
	r.sending.to = nil
	r.abandon(why)
	r.abandonChange(why)
	r.closeQueues(why)
	r.retryOpens()
	if r.moving != nil {
		r.moving.end(r.now, true, "")
		r.moving = nil
	}
}

// Grant takes a lease that was asked for at the given instant. The first one
// in a raft term activates its leader: from here on it commits.
func (r *Replica) Grant(g lease.Grant, asked lease.Instant) bool {
	if r.lead.term == 0 || !r.holder.Use(g, asked, r.lead.term) {
		return false
	}
	for _, id := range slices.Sorted(maps.Keys(r.lead.early)) {
		r.hear(r.lead.early[id])
	}
	clear(r.lead.early)
	return true
}

// Release gives up the lease of an appointment for good.
func (r *Replica) Release(id pinetree.AppointmentID) {
	r.holder.Release(id)
	r.publish()
	r.Unappoint(id, fmt.Errorf("%w: %d was released", pinetree.ErrStaleAppointment, id))
}

// Tick is called at the pace of TickInterval. Only a leader's raft is ticked.
func (r *Replica) Tick() {
	if r.stopped != nil {
		return
	}
	r.retryReads()
	if r.lead.term == 0 || r.lead.rest.quiet {
		return
	}
	r.rn.Tick()
	r.updateFloor()
	r.suspectQuorum()
	r.goQuiet()
}

// suspectQuorum sends writers away when no quorum was heard for long: there may be
// another leader that they should find. Those that come back are sent away again,
// for it may have been too early. This one goes on, because nobody else may be
// appointed while the manager is gone.
func (r *Replica) suspectQuorum() {
	if r.unanswered(r.QuorumAge()) < r.opt.SuspectAfter {
		r.lead.warned = 0
		return
	}
	if r.lead.warned != 0 && r.now.Sub(r.lead.warned) < r.opt.SuspectAfter/3 {
		return
	}
	if r.lead.warned == 0 {
		r.log.Warn("no quorum answers this leader; its writers are sent to look for another", "age", r.QuorumAge())
	}
	r.lead.warned = r.now
	for _, id := range r.volumeIDs() {
		v, away := r.volumes[id], &pinetree.NotLeaderError{Group: r.cfg.Group}
		r.dismiss(v, away)
		v.opens = slices.DeleteFunc(v.opens, func(o *opening) bool {
			if o.asking { // what else waits is in the log, and may be committed yet
				o.end(Opened{}, away)
			}
			return o.asking
		})
	}
}

// QuorumAge is how long ago a quorum, this leader included, last answered it
// in its raft term; since it leads when that never happened.
func (r *Replica) QuorumAge() time.Duration {
	if r.lead.term == 0 {
		return 0
	}
	return r.now.Sub(membership.Reached(r.conf.members, r.heardFrom))
}
