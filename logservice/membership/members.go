package membership

import (
	"cmp"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
)

// Members are the replicas of a group, by node, each list in rising order. They
// are not written to once made.
type Members struct {
	// Voters count for commits and elections.
	Voters []pinetree.NodeID
	// Outgoing are the voters of the configuration that a joint change leaves;
	// until it is left, a majority of them is needed, too.
	Outgoing []pinetree.NodeID
	// Learners get the log and count for nothing.
	Learners []pinetree.NodeID
}

// Of reads raft's configuration.
func Of(conf *raftpb.ConfState) Members {
	m := Members{Voters: nodes(conf.GetVoters()), Outgoing: nodes(conf.GetVotersOutgoing())}
	for _, id := range nodes(append(slices.Clone(conf.GetLearners()), conf.GetLearnersNext()...)) {
		if !m.Votes(id) {
			m.Learners = append(m.Learners, id)
		}
	}
	return m
}

func nodes(ids []uint64) []pinetree.NodeID {
	var list []pinetree.NodeID
	for _, id := range ids {
		list = append(list, pinetree.NodeID(id))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Encode makes the stored form of a configuration, the same bytes for equal
// ones. It is what pinetree.Position carries.
func Encode(conf *raftpb.ConfState) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(conf)
}

// Decode reads what Encode made. No bytes are a group without members: the
// replica has not been told yet. What does not decode is a
// *pinetree.CorruptError.
func Decode(stored []byte) (*raftpb.ConfState, error) {
	conf := &raftpb.ConfState{}
	if err := proto.Unmarshal(stored, conf); err != nil {
		return nil, &pinetree.CorruptError{Where: "stored membership", What: err.Error()}
	}
	return conf, nil
}

// Joint tells that a joint change is half done: raft leaves it by itself.
func (m Members) Joint() bool { return len(m.Outgoing) > 0 }

// Votes tells whether a node's replica is a voter, of either half of a joint
// configuration.
func (m Members) Votes(id pinetree.NodeID) bool {
	return slices.Contains(m.Voters, id) || slices.Contains(m.Outgoing, id)
}

// Learns tells whether a node's replica is a learner.
func (m Members) Learns(id pinetree.NodeID) bool { return slices.Contains(m.Learners, id) }

// Has tells whether a node has a replica that belongs to the group.
func (m Members) Has(id pinetree.NodeID) bool { return m.Votes(id) || m.Learns(id) }

// AllVoters are the voters of both halves.
func (m Members) AllVoters() []pinetree.NodeID {
	return union(m.Voters, m.Outgoing)
}

// All are voters and learners.
func (m Members) All() []pinetree.NodeID { return union(m.AllVoters(), m.Learners) }

// Quorum tells whether those of whom yes is true are a majority of each half.
func (m Members) Quorum(yes func(pinetree.NodeID) bool) bool {
	return majority(m.Voters, yes) && (!m.Joint() || majority(m.Outgoing, yes))
}

func majority(of []pinetree.NodeID, yes func(pinetree.NodeID) bool) bool {
	n := 0
	for _, id := range of {
		if yes(id) {
			n++
		}
	}
	return n > len(of)/2
}

// Reached is what a majority of each half has reached, of what each voter has.
func Reached[T cmp.Ordered](m Members, has func(pinetree.NodeID) T) (reached T) {
	for i, half := range [][]pinetree.NodeID{m.Voters, m.Outgoing} {
		var all []T
		for _, id := range half {
			all = append(all, has(id))
		}
		if slices.Sort(all); len(all) == 0 {
			continue
		}
		if most := all[(len(all)-1)/2]; i == 0 || most < reached {
			reached = most
		}
	}
	return reached
}

// Equal tells whether two memberships are the same.
func (m Members) Equal(other Members) bool {
	return slices.Equal(m.Voters, other.Voters) && slices.Equal(m.Outgoing, other.Outgoing) && slices.Equal(m.Learners, other.Learners)
}

func union(a, b []pinetree.NodeID) []pinetree.NodeID {
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	return slices.Compact(all)
}

func without(a, b []pinetree.NodeID) []pinetree.NodeID {
	var kept []pinetree.NodeID
	for _, id := range a {
		if !slices.Contains(b, id) {
			kept = append(kept, id)
		}
	}
	return kept
}
