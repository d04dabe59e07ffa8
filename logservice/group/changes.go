package group

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/membership"
	"github.com/pinetree-db/pinetree/logservice/retention"
)

// configuration is who is in the group as raft has it: as of the newest change
// that is committed, which may not be replayed here yet.
type configuration struct {
	members membership.Members
	at      pinetree.RaftIndex
}

// changing is a change of members that this leader has proposed.
type changing struct {
	after membership.Members
	index pinetree.RaftIndex // zero until raft placed it
	// confirm is the index of an empty entry that was proposed when the change was
	// through: whoever has that entry knows that the change is committed.
	confirm   pinetree.RaftIndex
	confirmed bool // the entry is proposed
	done      func(membership.Members, error)
}

// setMembers takes note of a configuration that is in force from an index on.
func (r *Replica) setMembers(conf *raftpb.ConfState, at pinetree.RaftIndex) {
	r.conf = configuration{members: membership.Of(conf), at: at}
}

// ChangeMembership changes who is in the group. done hears the members there are
// once the change is committed, replayed here, through if it is a joint one, and
// known to a majority of those who are left, so that who was removed is not needed
// any more. Changes are made one at a time, by a ready leader that is activated and
// does not hand over its leadership, and that does not remove itself; a learner
// must have caught up before it becomes a voter; and a majority of the voters
// afterwards must answer this leader. When the leadership is lost meanwhile, done
// hears pinetree.ErrNotLeader, and the next leader knows what became of it.
func (r *Replica) ChangeMembership(c membership.Change, done func(membership.Members, error)) {
	plan, err := r.planChange(c)
	if err != nil {
		done(r.conf.members, err)
		return
	}
	data, err := proto.Marshal(plan.Raft)
	if err != nil {
		done(r.conf.members, err)
		return
	}
	entry := []*raftpb.Entry{{Type: raftpb.EntryConfChangeV2.Enum(), Data: data}}
	if err := r.step(entry); err != nil {
		done(r.conf.members, fmt.Errorf("%w (raft: %w)", r.notLeader(), err))
		return
	}
	if entry[0].GetType() != raftpb.EntryConfChangeV2 {
		// Raft takes an empty entry instead, and says so nowhere else.
		done(r.conf.members, fmt.Errorf("%w: raft did not take the change of members, because an earlier one is not applied; wait and ask again", pinetree.ErrQueueFull))
		return
	}
	r.log.Info("changes the members", "change", c, "from", r.conf.members, "to", plan.After)
	r.changing = &changing{after: plan.After, done: done}
}

// planChange says what raft is to be asked for, or why not.
func (r *Replica) planChange(c membership.Change) (membership.Plan, error) {
	switch {
	case !r.mayAnswer() || r.stopped != nil:
		return membership.Plan{}, r.notLeader()
	case r.moving != nil:
		return membership.Plan{}, fmt.Errorf("%w: leadership is being handed to node %d; wait and ask the next leader", pinetree.ErrQueueFull, r.moving.to)
	case r.changing != nil || r.position.Index < r.conf.at:
		return membership.Plan{}, fmt.Errorf("%w: another change of the members of group %d is under way; wait and ask again", pinetree.ErrQueueFull, r.cfg.Group)
	}
	plan, err := c.Plan(r.conf.members)
	if err != nil {
		return plan, err
	}
	for _, id := range c.Add {
		if slices.Contains(r.lead.removed, id) {
			// What its former replica said last in this raft term may be on its
			// way, and would be taken for the new one's.
			return plan, fmt.Errorf("%w: node %d was removed in raft term %d; add another node, or this one under the next leader", pinetree.ErrBadBatch, id, r.lead.term)
		}
	}
	if slices.Contains(c.Remove, r.cfg.Node) {
		return plan, fmt.Errorf("%w: node %d leads group %d and cannot remove itself; move the leadership first", pinetree.ErrBadBatch, r.cfg.Node, r.cfg.Group)
	}
	for _, id := range c.Promote {
		if err := r.caughtUp(id); err != nil {
			return plan, err
		}
	}
	if !plan.After.Quorum(func(id pinetree.NodeID) bool { return id == r.cfg.Node || r.answers(id) }) {
		return plan, fmt.Errorf("%w: of the voters %v that the group would have, no majority answers this leader; bring them back first, or choose others", pinetree.ErrBadBatch, plan.After.Voters)
	}
	return plan, nil
}

// answers tells whether this leader has heard from a member lately.
func (r *Replica) answers(id pinetree.NodeID) bool {
	at, heard := r.lead.contact[id]
	return heard && r.unanswered(r.now.Sub(at)) <= r.opt.SuspectAfter
}

// caughtUp refuses a learner that would slow the group down as a voter.
func (r *Replica) caughtUp(id pinetree.NodeID) error {
	if !r.answers(id) {
		return fmt.Errorf("%w: node %d does not answer this leader and cannot become a voter; try again when it does", pinetree.ErrBadBatch, id)
	}
	last, err := r.cfg.Log.LastIndex()
	if err != nil {
		return err
	}
	lag := r.opt.MaxTransferLag + 1
	r.rn.WithProgress(func(member uint64, _ raft.ProgressType, pr raftProgress) {
		if pinetree.NodeID(member) == id && pr.Match > 0 {
			lag = retention.Lag(r.cfg.Log, pinetree.RaftIndex(pr.Match), pinetree.RaftIndex(last), r.opt.MaxTransferLag)
		}
	})
	if lag > r.opt.MaxTransferLag {
		return fmt.Errorf("%w: node %d lacks more than %d bytes of log and cannot become a voter; try again when it has caught up", pinetree.ErrQueueFull, id, r.opt.MaxTransferLag)
	}
	return nil
}

// placeChange learns where the change that this leader proposed is in the log.
// Raft's own entries that leave a joint configuration have no data.
func (r *Replica) placeChange(entries []*raftpb.Entry) {
	c := r.changing
	if c == nil {
		return
	}
	for _, e := range entries {
		switch {
		case pinetree.RaftTerm(e.GetTerm()) != r.lead.term:
		case c.index == 0 && e.GetType() == raftpb.EntryConfChangeV2 && len(e.GetData()) > 0:
			c.index = pinetree.RaftIndex(e.GetIndex())
		case c.confirmed && c.confirm == 0:
			c.confirm = pinetree.RaftIndex(e.GetIndex())
		}
	}
}

// applyChange brings a committed change of members into force. Who is removed has
// heard of the commit like the others, if it was listening; if not, only an order
// to its node ends its replica.
func (r *Replica) applyChange(change raftpb.ConfChangeI, at *raftpb.Entry) *raftpb.ConfState {
	index := pinetree.RaftIndex(at.GetIndex())
	before := r.conf.members
	conf := r.rn.ApplyConfChange(change)
	r.setMembers(conf, index)
	if r.lead.term == 0 {
		return conf
	}
	for _, id := range before.All() {
		if !r.conf.members.Has(id) {
			r.lead.removed = append(r.lead.removed, id)
			delete(r.sending.to, id)
		}
	}
	return conf
}

// confirmChange proposes an empty entry when a change is through. Its majority
// hears with it that the change is committed: until then those who are left may
// need the votes of those who are not.
func (r *Replica) confirmChange() {
	c := r.changing
	if c == nil || c.confirmed || c.index == 0 || r.conf.at < c.index || r.position.Index < r.conf.at || r.conf.members.Joint() || r.moving != nil {
		return
	}
	c.confirmed = r.step([]*raftpb.Entry{{}}) == nil
}

// finishChange tells the one who asked for a change how it ended.
func (r *Replica) finishChange() {
	c := r.changing
	if c == nil || c.confirm == 0 || pinetree.RaftIndex(r.basic.HardState.GetCommit()) < c.confirm {
		return
	}
	r.changing = nil
	if !r.conf.members.Equal(c.after) {
		c.done(r.conf.members, fmt.Errorf("the members of group %d are voters %v and learners %v after a change that was to make them %v and %v",
			r.cfg.Group, r.conf.members.Voters, r.conf.members.Learners, c.after.Voters, c.after.Learners))
		return
	}
	c.done(r.conf.members, nil)
}

// abandonChange ends the wait for a change whose leader is none any more, unless
// it is the change that ended the leadership.
func (r *Replica) abandonChange(why error) {
	c := r.changing
	if c == nil {
		return
	}
	r.changing = nil
	c.done(r.conf.members, fmt.Errorf("%w; the change of members may be made or not: ask for the members", why))
}

// leaveJoint gets a group out of the middle of a change. Raft does it by itself
// when the leader replays an entry, but not while leadership is handed over,
// after which there may be nothing to replay.
func (r *Replica) leaveJoint() {
	if !r.conf.members.Joint() || !r.mayAnswer() || r.moving != nil || r.position.Index < r.conf.at || r.now < r.lead.leave {
		return
	}
	r.lead.leave = r.now.Add(r.opt.CampaignRetry)
	// If raft has proposed it already, this becomes an empty entry.
	if err := r.step([]*raftpb.Entry{{Type: raftpb.EntryConfChangeV2.Enum()}}); err != nil {
		r.log.Debug("cannot leave the joint membership yet", "err", err)
	}
}

// heardFrom is when a voter last answered.
func (r *Replica) heardFrom(voter pinetree.NodeID) lease.Instant {
	at, heard := r.lead.contact[voter]
	switch {
	case voter == r.cfg.Node:
		return r.now
	case !heard:
		return r.lead.since
	}
	return at
}
