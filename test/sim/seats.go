package sim

import (
	"errors"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/membership"
	"github.com/pinetree-db/pinetree/logservice/rawnode"
)

// truth is who is in a group as of the newest change that any replica has
// replayed.
type truth struct {
	at      pinetree.RaftIndex
	members membership.Members
	// lost are the members whose disk was lost since they became ones.
	lost map[pinetree.NodeID]bool
}

// learnMembers follows the members of a group.
func (w *World) learnMembers(g pinetree.GroupID, at pinetree.Position) {
	t := w.truths[g]
	if at.Index <= t.at {
		return
	}
	conf, err := membership.Decode(at.Membership)
	if err != nil {
		w.fail("group %d: %w", g, err)
		return
	}
	was := t.members
	t.at, t.members = at.Index, membership.Of(conf)
	if t.members.Equal(was) {
		return
	}
	var voters uint64
	for _, id := range t.members.AllVoters() {
		voters = voters<<8 | uint64(id)
	}
	w.note("group", "has voters and learners, in bytes and number", uint64(g), voters, uint64(len(t.members.Learners)))
	for id := range t.lost {
		if !t.members.Has(id) {
			delete(t.lost, id)
		}
	}
	switch {
	case t.members.Joint():
		w.mark(JointChange)
	case len(was.Learners) < len(t.members.Learners):
		w.mark(LearnerAdded)
	}
}

// voters are those of a group, as nodes.
func (w *World) voters(g pinetree.GroupID) []*node {
	var list []*node
	for _, id := range w.truths[g].members.AllVoters() {
		list = append(list, w.nodes[id-1])
	}
	return list
}

// seats are the replicas of a group whose nodes are members, and were not wiped.
func (w *World) seats(g pinetree.GroupID) []*member {
	var list []*member
	t := w.truths[g]
	for _, id := range t.members.All() {
		if m := w.nodes[id-1].member(g); m != nil && !t.lost[id] {
			list = append(list, m)
		}
	}
	return list
}

// known tells whether a majority of a group's voters has replayed the newest
// change of its members.
func (w *World) known(g pinetree.GroupID) bool {
	t := w.truths[g]
	return t.members.Quorum(func(id pinetree.NodeID) bool {
		m := w.nodes[id-1].member(g)
		return m != nil && !t.lost[id] && m.members.Equal(t.members)
	})
}

// knownByAll tells whether every voter of a group has: a majority may lose one of
// those who know to a disk, and the others may be ahead in their logs.
func (w *World) knownByAll(g pinetree.GroupID) bool {
	t := w.truths[g]
	for _, id := range t.members.AllVoters() {
		if m := w.nodes[id-1].member(g); m == nil || !t.lost[id] && !m.members.Equal(t.members) {
			return false
		}
	}
	return true
}

// missing is a member of a group that has no replica; zero when there is none.
func (w *World) missing(g pinetree.GroupID) pinetree.NodeID {
	for _, id := range w.truths[g].members.All() {
		if m := w.nodes[id-1].member(g); m == nil || w.truths[g].lost[id] || m.view.Stopped != nil {
			return id
		}
	}
	return 0
}

// member is the replica of a group on the node; nil when it has none.
func (n *node) member(id pinetree.GroupID) *member {
	if len(n.members) == 0 {
		return nil
	}
	return n.members[id-1]
}

// seats are the node's replicas, by group.
func (n *node) seats() []*member {
	var list []*member
	for _, m := range n.members {
		if m != nil {
			list = append(list, m)
		}
	}
	return list
}

// post tells the replica of a group, if there is one.
func (n *node) post(id pinetree.GroupID, do func(*group.Replica)) {
	if m := n.member(id); m != nil {
		m.post(do)
	}
}

// createBlank gives the node a replica that waits for its first state.
func (n *node) createBlank(g pinetree.GroupID) bool {
	if m := n.member(g); m != nil {
		return m.blank() // one that is left from an earlier try
	}
	err := n.engines.Create(g, pinetree.Position{})
	if err == nil {
		n.members[g-1], err = n.open(g)
	}
	if err != nil {
		n.w.fail("%s: group %d: blank replica: %w", n.name, g, err)
		return false
	}
	n.w.note(n.name, "has a blank replica of group", uint64(g))
	return true
}

func (m *member) blank() bool { return m.engine.Position().Index == 0 }

// removeReplica ends a replica and removes its files.
func (n *node) removeReplica(g pinetree.GroupID) {
	m := n.member(g)
	if m == nil || n.disk.failed || m.role.Leads {
		return
	}
	m.replica.Stop(errRemovedByOrder)
	if m.applying {
		n.after(time.Millisecond, func() { n.removeReplica(g) })
		return
	}
	n.w.note(n.name, "removes its replica of group", uint64(g))
	n.w.mark(ReplicaRemoved)
	m.gone()
	m.arrived = nil
	n.members[g-1] = nil
	// What waits of other groups becomes durable with it.
	n.disk.sync(g)
	n.disk.check(n.disk.log.Remove(g))
	n.disk.check(n.disk.synced.Remove(g))
	if err := n.engines.Remove(g); err != nil {
		n.w.fail("%s: %w", n.name, err)
	}
}

// noteMembers follows the members as this replica has them.
func (m *member) noteMembers() {
	if now := m.replica.Members(); !now.Equal(m.members) {
		m.before, m.members = m.members, now
	}
}

// mayStop tells whether a replica stopped for a reason that is none to worry.
func (m *member) mayStop(why error) bool {
	return group.Removed(why) || errors.Is(why, errRemovedByOrder)
}

// position is what the engine holds when a replica starts.
func (m *member) position(state engine.Engine) pinetree.Position {
	at := state.Position()
	if m.node.w.cfg.Mutant == StaleMembership && at.Index > 0 {
		if start, _, err := rawnode.Bootstrap(m.node.w.founders()); err == nil {
			at = at.Clone()
			at.Membership = start.Membership
		}
	}
	return at
}
