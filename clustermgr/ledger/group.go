package ledger

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
)

// Group is a raft group.
type Group struct {
	ID       pinetree.GroupID  `json:"id"`
	Voters   []pinetree.NodeID `json:"voters"`
	HomeZone string            `json:"home_zone,omitempty"`
	// Created is set once every voter has made its replica.
	Created bool         `json:"created"`
	Lease   lease.Record `json:"lease"`
	// Change of the replicas that is under way; nil when there is none.
	Change *ReplicaChange `json:"change,omitempty"`
	// Changes is the number of the last change.
	Changes uint64 `json:"changes,omitempty"`
	// Removed are nodes that may have files of their former replica, each with a
	// raft index at which it was no member.
	Removed map[pinetree.NodeID]pinetree.RaftIndex `json:"removed,omitempty"`
	// KeptUntil is the wall-clock time in milliseconds of the Unix epoch up to
	// which the leader stays where an operator has moved it.
	KeptUntil int64 `json:"kept_until,omitempty"`
	// Deleted groups have no members: they are no more, but for what the Removed
	// nodes may have of them.
	Deleted bool `json:"deleted,omitempty"`
}

// ReplicaChange puts a replica on node Add, takes that of node Remove away, or both.
// Zero is no node. The voters are as before until it is through.
type ReplicaChange struct {
	Number uint64          `json:"number"`
	Add    pinetree.NodeID `json:"add,omitempty"`
	Remove pinetree.NodeID `json:"remove,omitempty"`
	// Cause is why the manager began it by itself; empty for an operator's order.
	Cause string `json:"cause,omitempty"`
	// Replaces tells that it is because the replica of node Remove was lost.
	Replaces bool `json:"replaces,omitempty"`
}

// Key is where the group is kept.
func (g Group) Key() string { return fmt.Sprintf("%s%020d", groups, g.ID) }

// Members are the nodes that have a replica, the one that is being added
// included.
func (g Group) Members() []pinetree.NodeID {
	if g.Change == nil || g.Change.Add == 0 || slices.Contains(g.Voters, g.Change.Add) {
		return g.Voters
	}
	return append(slices.Clone(g.Voters), g.Change.Add)
}

// Changing is the group with a change begun, which gets the next number.
func (g Group) Changing(c ReplicaChange) Group {
	g.Changes++
	c.Number = g.Changes
	g.Change = &c
	return g
}

// Changed is the group after its change, with the members that its leader names:
// whoever else had a replica was no member at the raft index, and may have its
// files.
func (g Group) Changed(voters, learners []pinetree.NodeID, at pinetree.RaftIndex) Group {
	before := g.Voters
	if g.Change != nil {
		before = append(slices.Clone(before), g.Change.Add, g.Change.Remove)
	}
	g.Change, g.Voters = nil, voters
	return g.without(before, slices.Concat(voters, learners), at)
}

// Ended is the group after it was deleted: whoever had a replica may have its
// files.
func (g Group) Ended() Group {
	before := g.Members()
	g.Deleted, g.Change, g.Voters = true, nil, nil
	return g.without(before, nil, 0)
}

// without takes note of the nodes that were members before and are none now.
func (g Group) without(before, now []pinetree.NodeID, at pinetree.RaftIndex) Group {
	g.Removed = maps.Clone(g.Removed)
	if g.Removed == nil {
		g.Removed = map[pinetree.NodeID]pinetree.RaftIndex{}
	}
	for _, id := range before {
		if id != 0 && !slices.Contains(now, id) {
			g.Removed[id] = at
		}
	}
	return g
}

// Cleaned is the group after a node has removed the files of its former replica.
func (g Group) Cleaned(id pinetree.NodeID) Group {
	g.Removed = maps.Clone(g.Removed)
	delete(g.Removed, id)
	return g
}
