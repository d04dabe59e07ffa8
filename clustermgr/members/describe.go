package members

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/clustermgr/upkeep"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Describe adds to a snapshot of a group what its record says of its change and
// its former replicas, and who votes: by the word of its leader, if there is one.
func Describe(s *upkeep.Group, record ledger.Group, leader *wirepb.ReplicaStatus) {
	for id := range record.Removed {
		s.Former = append(s.Former, id)
	}
	if c := record.Change; c != nil {
		s.Changing, s.Change, s.Cause, s.Replaces = true, policy.Change{Add: c.Add, Remove: c.Remove}, c.Cause, c.Replaces
	}
	voters := leader.GetVoters()
	switch {
	case leader.GetJoint() && len(leader.GetIncoming()) > 0:
		voters = leader.GetIncoming()
	case len(voters) == 0:
		voters = Numbers(record.Voters)
	}
	for i := range s.Replicas {
		id := uint64(s.Replicas[i].Node)
		s.Replicas[i].Votes = slices.Contains(voters, id)
		s.Replicas[i].Before = leader.GetJoint() && slices.Contains(leader.GetOutgoing(), id)
		s.Replicas[i].Learns = slices.Contains(leader.GetLearners(), id)
	}
}

// AddProgress takes into what is told of a group what its leader says of the
// members.
func AddProgress(info *wirepb.GroupInfo, leader *wirepb.ReplicaStatus) {
	for _, m := range leader.GetMembers() {
		at := slices.IndexFunc(info.Replicas, func(r *wirepb.ReplicaInfo) bool { return r.GetNode() == m.GetNode() })
		if at >= 0 {
			info.Replicas[at].Progress = m
		}
	}
}

// InWords is a change of replicas, if there is one, and what it waits for.
func InWords(c *ledger.ReplicaChange, waits string) string {
	if c == nil {
		return ""
	}
	return strings.TrimSuffix(fmt.Sprintf("%s: %s", policy.Change{Add: c.Add, Remove: c.Remove}, waits), ": ")
}

// Place is where a replica is.
type Place struct {
	Group pinetree.GroupID
	Node  pinetree.NodeID
}

// Losses remember since when replicas are of no use though their nodes live.
type Losses map[Place]lease.Instant

// Note takes note of why a replica is of no use, empty when it is of use, in what
// upkeep sees of it.
func (l Losses) Note(at Place, why string, now lease.Instant, in *upkeep.Replica) {
	if why == "" {
		delete(l, at)
		return
	}
	since, known := l[at]
	if !known {
		since, l[at] = now, now
	}
	in.Lost, in.LostFor = why, now.Sub(since)
}

// Learners are a group's, by the word of its leader, which may be older than what is
// recorded of the voters.
func Learners(leader *wirepb.ReplicaStatus, voters []uint64) (learners []uint64) {
	for _, id := range leader.GetLearners() {
		if !slices.Contains(voters, id) {
			learners = append(learners, id)
		}
	}
	return learners
}
