package membership

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
)

// Change is what is to become of a group's members, all in one step. More than
// one of it is a joint change: until it is through, a majority of the voters
// before and one of the voters after must both agree.
type Change struct {
	// Add nodes as learners. Each needs an empty replica, which gets the
	// group's state by a snapshot.
	Add []pinetree.NodeID
	// Promote learners to voters.
	Promote []pinetree.NodeID
	// Remove voters or learners.
	Remove []pinetree.NodeID
}

// Replace is the change that puts a learner into the place of a voter.
func Replace(voter, by pinetree.NodeID) Change {
	return Change{Promote: []pinetree.NodeID{by}, Remove: []pinetree.NodeID{voter}}
}

// String says it in words.
func (c Change) String() string {
	return fmt.Sprintf("add %v, promote %v, remove %v", c.Add, c.Promote, c.Remove)
}

// Plan is a change as raft takes it, and the members that it must end with.
type Plan struct {
	Raft  *raftpb.ConfChangeV2
	After Members
}

// Plan checks a change against the members there are. A change that breaks a
// rule is refused with pinetree.ErrBadBatch, and one of a group that is in the
// middle of another with pinetree.ErrQueueFull: wait and ask again.
func (c Change) Plan(m Members) (Plan, error) {
	if m.Joint() {
		return Plan{}, fmt.Errorf("%w: the members are being changed from voters %v to %v; wait and ask again", pinetree.ErrQueueFull, m.Outgoing, m.Voters)
	}
	if err := c.check(m); err != nil {
		return Plan{}, err
	}
	after := Members{
		Voters:   without(union(m.Voters, c.Promote), c.Remove),
		Learners: without(without(union(m.Learners, c.Add), c.Promote), c.Remove),
	}
	if len(after.Voters) == 0 {
		return Plan{}, refuse("no voter would be left")
	}
	p := Plan{Raft: &raftpb.ConfChangeV2{}, After: after}
	p.add(raftpb.ConfChangeAddNode, c.Promote)
	p.add(raftpb.ConfChangeAddLearnerNode, c.Add)
	p.add(raftpb.ConfChangeRemoveNode, c.Remove)
	return p, nil
}

func (p Plan) add(kind raftpb.ConfChangeType, ids []pinetree.NodeID) {
	for _, id := range ids {
		n := uint64(id)
		p.Raft.Changes = append(p.Raft.Changes, &raftpb.ConfChangeSingle{Type: kind.Enum(), NodeId: &n})
	}
}

func (c Change) check(m Members) error {
	named := slices.Concat(c.Add, c.Promote, c.Remove)
	if len(named) == 0 {
		return refuse("it changes nothing")
	}
	slices.Sort(named)
	if len(slices.Compact(slices.Clone(named))) != len(named) {
		return refuse("%s: a node is named twice", c)
	}
	if named[0] == 0 {
		return refuse("zero is no node")
	}
	for _, id := range c.Add {
		if m.Has(id) {
			return refuse("node %d is a member already (voters %v, learners %v)", id, m.Voters, m.Learners)
		}
	}
	for _, id := range c.Promote {
		if !m.Learns(id) {
			return refuse("node %d is no learner (learners are %v); add it as one first", id, m.Learners)
		}
	}
	for _, id := range c.Remove {
		if !m.Has(id) {
			return refuse("node %d is no member (voters %v, learners %v)", id, m.Voters, m.Learners)
		}
	}
	return nil
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: change of members: %w", pinetree.ErrBadBatch, fmt.Errorf(format, args...))
}
