package group

import (
	"cmp"
	"slices"
	"time"

	"go.etcd.io/raft/v3"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/membership"
)

// Status is a replica as it sees itself.
type Status struct {
	Group       pinetree.GroupID
	Node        pinetree.NodeID
	Leader      bool
	Ready       bool // leads and has applied an entry of its own raft term
	Activated   bool // by a grant, for its raft term
	RaftTerm    pinetree.RaftTerm
	Appointment pinetree.AppointmentID
	Released    pinetree.AppointmentID
	LeaderHint  pinetree.NodeID // believed to lead; zero when unknown
	QuorumAge   time.Duration   // leader: since a quorum last answered
	Quiet       bool            // leader: it did not ask a quorum, so that age says nothing
	LastTerm    pinetree.RaftTerm
	LastIndex   pinetree.RaftIndex
	Committed   pinetree.RaftIndex
	Applied     pinetree.Position
	LeaseUntil  lease.Instant     // zero when it holds none
	Voters      []pinetree.NodeID // of both halves of a joint membership
	Learners    []pinetree.NodeID
	// Incoming and Outgoing are the two halves of a joint membership.
	Incoming, Outgoing []pinetree.NodeID
	MembersAt          pinetree.RaftIndex // from which on the members are these, as far as is known
	Joint              bool               // a joint change of members is half done
	Removed            bool               // stopped because it is no member any more
	Blank              bool               // has no state yet and waits for a snapshot
	Lost               error              // blank, and a member that had state before: its disk was lost
	Members            []Member           // leader: how far each member is
	Stopped            error
	// ApplyStalled is for how long commits wait and none was replayed; zero when
	// none waits.
	ApplyStalled time.Duration
	// CommitTime is a leader's usual time from a proposal to its commit, and
	// ApplyTime any replica's from there to its replay, both of the last seconds;
	// zero when there was none.
	CommitTime, ApplyTime time.Duration
	Acked                 map[pinetree.VolumeID]pinetree.LSN // leader: acknowledged per volume
}

// Status reports the replica's state as of the last turn. The log's end is what
// is saved, not what waits to be.
func (r *Replica) Status() (Status, error) {
	s := Status{
		Group: r.cfg.Group, Node: r.cfg.Node,
		Leader: r.lead.term != 0, Ready: r.lead.ready, Activated: r.holder.Activated(r.lead.term),
		RaftTerm:    pinetree.RaftTerm(r.basic.HardState.GetTerm()),
		Appointment: r.holder.Appointment(), Released: r.holder.Released(),
		LeaderHint: pinetree.NodeID(r.basic.Lead), QuorumAge: r.QuorumAge(), Quiet: r.isQuiet(),
		Committed: pinetree.RaftIndex(r.basic.HardState.GetCommit()), Applied: r.position,
		LeaseUntil: r.holder.Expiry(r.lead.term), Voters: r.conf.members.AllVoters(), Stopped: r.ended(),
		Learners: r.conf.members.Learners, MembersAt: r.conf.at, Joint: r.conf.members.Joint() || r.changing != nil,
		Removed: r.retired != nil, Blank: r.blank(), Lost: r.lost, Members: r.progress(),
		ApplyStalled: r.replaying.Stalled(r.position.Index, r.now), CommitTime: r.commitPace(), ApplyTime: r.replaying.Usual(r.position.Index, r.now),
		Acked: map[pinetree.VolumeID]pinetree.LSN{},
	}
	if r.conf.members.Joint() {
		s.Incoming, s.Outgoing = r.conf.members.Voters, r.conf.members.Outgoing
	}
	for id, v := range r.volumes {
		s.Acked[id] = v.committed
	}
	last, err := r.cfg.Log.LastIndex()
	if err != nil {
		return s, err
	}
	term, err := r.cfg.Log.Term(last)
	if err != nil {
		return s, err
	}
	s.LastIndex, s.LastTerm = pinetree.RaftIndex(last), pinetree.RaftTerm(term)
	return s, nil
}

// Member is what a leader knows of a member of its group.
type Member struct {
	Node    pinetree.NodeID
	Learner bool
	Match   pinetree.RaftIndex // its log surely equals the leader's up to here
	// State is raft's: StateProbe, StateReplicate or StateSnapshot.
	State  string
	Active bool          // answers this leader
	Silent time.Duration // since it last did
	// Snapshot is the index of one that is on its way to it; zero when none is.
	Snapshot pinetree.RaftIndex
}

// commitPace is the usual time from a proposal to its commit, while this replica
// leads.
func (r *Replica) commitPace() time.Duration {
	for _, p := range r.flight.proposals {
		if p.index == 0 || p.index > r.flight.committed {
			return r.lead.pace.Now(r.now, r.now.Sub(p.at))
		}
	}
	return r.lead.pace.Now(r.now, 0)
}

// Members are the members of the group as of the newest change that is committed
// here.
func (r *Replica) Members() membership.Members { return r.conf.members }

// progress lists the members, this replica included, by node.
func (r *Replica) progress() []Member {
	if r.lead.term == 0 || r.stopped != nil {
		return nil
	}
	var list []Member
	r.rn.WithProgress(func(member uint64, _ raft.ProgressType, pr raftProgress) {
		id := pinetree.NodeID(member)
		m := Member{Node: id, Learner: pr.IsLearner, Match: pinetree.RaftIndex(pr.Match), State: pr.State.String(), Snapshot: pinetree.RaftIndex(pr.PendingSnapshot)}
		if id == r.cfg.Node {
			m.Active = true
		} else {
			m.Silent, m.Active = r.silence(id), r.answers(id)
		}
		list = append(list, m)
	})
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.Node, b.Node) })
	return list
}

// View is what a read needs to know of the replica at one instant, never
// changed after it is published.
type View struct {
	Leads     bool // ready and activated, in Term
	Term      pinetree.RaftTerm
	Committed pinetree.RaftIndex
	Applied   pinetree.RaftIndex
	Lease     lease.Instant // not a moment later; zero when none is held
	Leader    pinetree.NodeID
	Idle      bool // nothing changes until something happens to the replica
	Stopped   error
}

// View of the last turn. Published after the turn and before anybody hears of
// an acknowledgement, it makes a lease read safe: whatever was acknowledged by
// this leader is at or below Committed.
func (r *Replica) View() View {
	return View{
		Leads:     r.lead.ready && r.holder.Activated(r.lead.term),
		Term:      r.lead.term,
		Committed: pinetree.RaftIndex(r.basic.HardState.GetCommit()),
		Applied:   r.position.Index,
		Lease:     r.holder.Expiry(r.lead.term),
		Leader:    pinetree.NodeID(r.basic.Lead),
		Idle:      r.Idle(),
		Stopped:   r.ended(),
	}
}

func (r *Replica) publish() {
	if r.cfg.Publish != nil {
		r.cfg.Publish(r.View())
	}
}

// Role is what the manager should hear of at once when it changes.
type Role struct {
	Leads, Ready, Activated bool
	Term                    pinetree.RaftTerm
	Released                pinetree.AppointmentID
}

// Role of the last turn.
func (r *Replica) Role() Role {
	return Role{
		Leads: r.lead.term != 0, Ready: r.lead.ready, Activated: r.holder.Activated(r.lead.term),
		Term: r.lead.term, Released: r.holder.Released(),
	}
}
