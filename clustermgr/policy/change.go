package policy

import (
	"fmt"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Change is what is to become of a group's replicas: one more on node Add, none
// on node Remove, or both. Zero is no node.
type Change struct{ Add, Remove pinetree.NodeID }

// String says it in words.
func (c Change) String() string {
	switch {
	case c.Remove == 0:
		return fmt.Sprintf("add a replica on node %d", c.Add)
	case c.Add == 0:
		return fmt.Sprintf("remove the replica of node %d", c.Remove)
	}
	return fmt.Sprintf("replace the replica of node %d by one on node %d", c.Remove, c.Add)
}

// ChangeAction is what a change needs next.
type ChangeAction uint8

const (
	// AwaitMembers: something must happen in the group first.
	AwaitMembers ChangeAction = iota
	// AddLearner: node Add gets a blank replica and becomes a learner.
	AddLearner
	// ChangeMembers: learners are promoted, replicas removed, in one step.
	ChangeMembers
	// Depose: the leader loses its replica, so another one is to lead.
	Depose
	// RecordMembers: the group is as it was to be.
	RecordMembers
)

// ChangeStep is a step of a change.
type ChangeStep struct {
	Action          ChangeAction
	Promote, Remove []pinetree.NodeID // ChangeMembers
	Reason          string            // AwaitMembers: what is waited for
}

// NextStep tells how a change goes on, from what the group's leader says of the
// members. Since it asks nothing else, a change can be taken up by anybody at
// any point. A replica is added as a learner, and is a voter only once it has
// caught up; it takes the place of another in one joint change. A leader that is
// to go hands over when its successor is a voter already, so that a group of one
// can move, too.
func NextStep(c Change, leader pinetree.NodeID, s *wirepb.ReplicaStatus) ChangeStep {
	votes, learns := among(s.GetVoters(), c), among(s.GetLearners(), c)
	removing := votes.Remove || learns.Remove
	switch {
	case s.GetJoint():
		return ChangeStep{Reason: "a change of the members is half done"}
	case c.Add != 0 && !votes.Add && !learns.Add:
		return ChangeStep{Action: AddLearner}
	case learns.Add:
		if why := learning(c.Add, s); why != "" {
			return ChangeStep{Reason: why}
		}
		step := ChangeStep{Action: ChangeMembers, Promote: []pinetree.NodeID{c.Add}}
		if removing && c.Remove != leader {
			step.Remove = []pinetree.NodeID{c.Remove}
		}
		return step
	case removing && c.Remove == leader:
		return ChangeStep{Action: Depose}
	case removing:
		return ChangeStep{Action: ChangeMembers, Remove: []pinetree.NodeID{c.Remove}}
	}
	return ChangeStep{Action: RecordMembers}
}

// part tells which nodes of a change are in a list.
type part struct{ Add, Remove bool }

func among(list []uint64, c Change) part {
	return part{c.Add != 0 && slices.Contains(list, uint64(c.Add)), c.Remove != 0 && slices.Contains(list, uint64(c.Remove))}
}

// learning says what a learner lacks before it can become a voter, or nothing.
func learning(id pinetree.NodeID, s *wirepb.ReplicaStatus) string {
	at := slices.IndexFunc(s.GetMembers(), func(m *wirepb.MemberProgress) bool { return m.GetNode() == uint64(id) })
	if at < 0 {
		return fmt.Sprintf("the leader does not say how far node %d is", id)
	}
	switch m := s.GetMembers()[at]; {
	case m.GetSnapshot() != 0:
		return fmt.Sprintf("a snapshot as of index %d is on its way to node %d", m.GetSnapshot(), id)
	case !m.GetActive():
		return fmt.Sprintf("node %d has not answered the leader for %d ms", id, m.GetSilentMs())
	case m.GetState() != "replicate" || m.GetMatch() == 0:
		return fmt.Sprintf("the leader looks for the end of node %d's log", id)
	}
	return ""
}

// CheckChange refuses a change after which a group could not go on, or which
// cannot be made: of its voters then, a majority must live, node Add among them.
func CheckChange(c Change, voters []pinetree.NodeID, health func(pinetree.NodeID) Health) error {
	after := slices.DeleteFunc(slices.Clone(voters), func(id pinetree.NodeID) bool { return id == c.Remove })
	if c.Add != 0 {
		after = append(after, c.Add)
	}
	if len(after) == 0 {
		return fmt.Errorf("it would have no replica left")
	}
	for _, list := range [][]pinetree.NodeID{voters, after} {
		dead := slices.DeleteFunc(slices.Clone(list), func(id pinetree.NodeID) bool { return health(id) != Dead })
		if len(list)-len(dead) <= len(list)/2 {
			return fmt.Errorf("nodes %v are dead, and without them %v have no majority", dead, list)
		}
	}
	return nil
}

// AllKnow tells whether every live member has replayed the group's log up to an
// index, at which a replica was removed. One that has not may need the vote of
// that replica, which must stay until then.
func AllKnow(s Situation, index pinetree.RaftIndex) bool {
	return !slices.ContainsFunc(s.Members, func(m Member) bool {
		return m.Health == Alive && m.Status.GetApplied() < uint64(index)
	})
}
