package reign

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/orders"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// lookAtReplicas takes the next step of a group's change of replicas, or of the
// removal of files that one has left behind. That runs beside the group's other
// operations, for a leader must be found while a replica is slow to catch up. A
// step follows from what the leader says, so a manager that takes office goes on
// where the one before has stopped.
func (r *Reign) lookAtReplicas(g *group, now lease.Instant) {
	if g.changing || now < g.changeAt || r.operations >= r.cfg.MaxOperations {
		return
	}
	task := r.changeTask(g)
	if task == nil {
		task = r.cleanTask(g)
	}
	if task == nil {
		return
	}
	g.changing = true
	r.operations++
	r.spawn(func() {
		err := task()
		r.tell(func() {
			g.changing = false
			r.operations--
			r.noteStep(g, err)
			r.lookAtReplicas(g, r.cfg.Clock())
			r.notify()
		})
	})
}

// noteStep takes note of what a change waits for, and when to look again.
func (r *Reign) noteStep(g *group, waits error) {
	if waits == nil {
		g.changeNote = ""
		return
	}
	if note := waits.Error(); note != g.changeNote {
		r.log.Info("a change of replicas waits", "group", g.id, "reason", note)
		g.changeNote = note
	}
	g.changeAt = r.cfg.Clock().Add(r.cfg.ChangePace)
}

// changing is a change under way and who takes part in it, for a task beside the
// owner.
type changing struct {
	group  *group
	record ledger.ReplicaChange
	want   policy.Change
	leader orders.Target
	add    orders.Target
	absent bool // node Add has not reported a replica
}

// changeTask is the next step of a change; nil when there is none under way.
func (r *Reign) changeTask(g *group) func() error {
	if g.Is.Change == nil {
		return nil
	}
	leader := r.leader(g)
	if leader == nil {
		return func() error { return errors.New("the group has no leader now") }
	}
	c := changing{group: g, record: *g.Is.Change, leader: leader.target()}
	c.want = policy.Change{Add: c.record.Add, Remove: c.record.Remove}
	if n := r.nodes[c.record.Add]; n != nil {
		c.add, c.absent = n.target(), n.replicas[g.id] == nil
	}
	return func() error {
		status := r.dial.Collect(r.ctx, g.id, []orders.Target{c.leader})[0]
		if !status.GetLeader() {
			return fmt.Errorf("node %d, the leader, does not answer", c.leader.Node)
		}
		// One that was deposed and does not know it may know older members, too. A
		// quiet one has all members behind it.
		if age := time.Duration(status.GetQuorumAgeMs()) * time.Millisecond; age > r.cfg.Lease.MaxQuorumAge && !status.GetQuiet() {
			return fmt.Errorf("node %d, the leader, has not heard from a quorum for %v", c.leader.Node, age)
		}
		return r.takeStep(c, status)
	}
}

// takeStep does what the change needs next; an error says what it waits for.
func (r *Reign) takeStep(c changing, status *wirepb.ReplicaStatus) error {
	step := policy.NextStep(c.want, c.leader.Node, status)
	order := &wirepb.ChangeMembershipRequest{Group: uint64(c.group.id), MembersAt: status.GetMembersAt()}
	switch step.Action {
	case policy.AwaitMembers:
		if c.absent { // its node lost the blank replica, or is slow to tell of it
			if err := r.dial.CreateBlank(r.ctx, c.add, c.group.id); err != nil {
				return err
			}
		}
		return errors.New(step.Reason)
	case policy.AddLearner:
		if err := r.dial.CreateBlank(r.ctx, c.add, c.group.id); err != nil {
			return err
		}
		order.Add = []uint64{uint64(c.add.Node)}
	case policy.ChangeMembers:
		order.Promote, order.Remove = numbers(step.Promote), numbers(step.Remove)
	case policy.Depose:
		moved, err := r.MoveLeader(r.ctx, &wirepb.MoveLeaderRequest{Group: uint64(c.group.id)})
		if err == nil && !moved.GetMoved() {
			err = errors.New(moved.GetReason())
		}
		return err
	case policy.RecordMembers:
		return r.recordMembers(c, status)
	}
	if err := r.dial.ChangeMembership(r.ctx, c.leader, order); err != nil {
		return err
	}
	r.tell(func() {
		r.event(ledger.Event{Kind: "members_changed", Group: c.group.id, Node: c.leader.Node, Cause: c.want.String(),
			Outcome: fmt.Sprintf("learners %v added, %v promoted, %v removed", order.Add, order.Promote, order.Remove)})
	})
	return nil
}

func numbers(ids []pinetree.NodeID) []uint64 {
	var list []uint64
	for _, id := range ids {
		list = append(list, uint64(id))
	}
	return list
}

// recordMembers ends a change: the voters are what the leader says they are, and
// whoever had a replica and is no member may have its files. The entry that
// removed them is at or below the leader's commit index.
func (r *Reign) recordMembers(c changing, status *wirepb.ReplicaStatus) error {
	g := c.group
	var next ledger.Group
	return r.persist(r.ctx, func() ([]ledger.Change, error) {
		next = g.Is
		if next.Change == nil || next.Change.Number != c.record.Number {
			return nil, errors.New("the change was given up for another one")
		}
		next.Change, next.Voters, next.Removed = nil, nil, maps.Clone(next.Removed)
		if next.Removed == nil {
			next.Removed = map[pinetree.NodeID]pinetree.RaftIndex{}
		}
		for _, id := range status.GetVoters() {
			next.Voters = append(next.Voters, pinetree.NodeID(id))
		}
		for _, id := range append(slices.Clone(g.Is.Voters), c.want.Add, c.want.Remove) {
			if id != 0 && !slices.Contains(next.Voters, id) && !slices.Contains(status.GetLearners(), uint64(id)) {
				next.Removed[id] = pinetree.RaftIndex(status.GetCommitted())
			}
		}
		return []ledger.Change{g.Put(next.Key(), next)}, nil
	}, func(revision int64) {
		g.Is, g.Revision = next, revision
		r.event(ledger.Event{Kind: "replicas_changed", Group: g.id, Node: max(c.want.Add, c.want.Remove), Cause: c.want.String(),
			Outcome: fmt.Sprintf("voters %v", next.Voters)})
	})
}

// cleanTask has the nodes that live remove the files of replicas that are no
// members any more; nil when there are none.
func (r *Reign) cleanTask(g *group) func() error {
	var dirty []orders.Target
	for _, id := range slices.Sorted(maps.Keys(g.Is.Removed)) {
		if n := r.nodes[id]; n != nil && r.health(n) == policy.Alive && policy.AllKnow(r.situation(g, r.cfg.Clock()), g.Is.Removed[id]) {
			dirty = append(dirty, n.target())
		}
	}
	if len(dirty) == 0 {
		return nil
	}
	removed := g.Is.Removed
	return func() error {
		var failures []error
		for _, t := range dirty {
			err := r.dial.RemoveReplica(r.ctx, t, &wirepb.RemoveReplicaRequest{Group: uint64(g.id), AsOf: uint64(removed[t.Node])})
			if err == nil {
				err = r.recordClean(g, t.Node)
			}
			failures = append(failures, err)
		}
		return errors.Join(failures...)
	}
}

// recordClean takes note that a node has no files of its former replica.
func (r *Reign) recordClean(g *group, id pinetree.NodeID) error {
	var next ledger.Group
	return r.persist(r.ctx, func() ([]ledger.Change, error) {
		next = g.Is
		next.Removed = maps.Clone(next.Removed)
		delete(next.Removed, id)
		return []ledger.Change{g.Put(next.Key(), next)}, nil
	}, func(revision int64) {
		g.Is, g.Revision = next, revision
		r.event(ledger.Event{Kind: "replica_removed", Group: g.id, Node: id, Cause: "its node is no member of the group any more"})
	})
}
