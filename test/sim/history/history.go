// Package history is what the simulation's checkers remember and compare: every
// committed entry, every append that was acknowledged, every read and lease. It
// is told what happened, in the order of true time, and keeps the first breach
// of a promise. It knows nothing of how the cluster works, and shares no code
// with what it checks but the nouns.
package history

import (
	"fmt"
	"hash/fnv"

	"github.com/pinetree-db/pinetree"
)

// History is the record of one run. It is not for concurrent use.
type History struct {
	breach  error
	groups  map[pinetree.GroupID]*groupHistory
	volumes map[pinetree.VolumeID]*volumeHistory
	leases  map[pinetree.GroupID][]Lease
	marks   map[markKey]seenMarks
	kept    map[pinetree.VolumeID]*kept
}

// New makes the history of a run in which nothing has happened.
func New() *History {
	return &History{
		groups:  map[pinetree.GroupID]*groupHistory{},
		volumes: map[pinetree.VolumeID]*volumeHistory{},
		leases:  map[pinetree.GroupID][]Lease{},
		marks:   map[markKey]seenMarks{},
		kept:    map[pinetree.VolumeID]*kept{},
	}
}

// Breach is the first promise that was broken; nil while there is none.
func (h *History) Breach() error { return h.breach }

// Fail notes a breach that somebody else saw.
func (h *History) Fail(format string, args ...any) {
	if h.breach == nil {
		h.breach = fmt.Errorf(format, args...)
	}
}

// groupHistory is what all replicas of a group must agree on.
type groupHistory struct {
	entries   map[pinetree.RaftIndex]Entry
	positions map[pinetree.RaftIndex]uint64 // sums of positions, where a write ended
	leaders   map[pinetree.RaftTerm]pinetree.NodeID
}

// Entry is a committed raft entry, summed up.
type Entry struct {
	Term pinetree.RaftTerm
	Sum  uint64
}

func (h *History) group(id pinetree.GroupID) *groupHistory {
	g := h.groups[id]
	if g == nil {
		g = &groupHistory{
			entries: map[pinetree.RaftIndex]Entry{}, positions: map[pinetree.RaftIndex]uint64{},
			leaders: map[pinetree.RaftTerm]pinetree.NodeID{},
		}
		h.groups[id] = g
	}
	return g
}

// Leads is told which node leads in a raft term: no other one ever does.
func (h *History) Leads(group pinetree.GroupID, term pinetree.RaftTerm, node pinetree.NodeID) {
	g := h.group(group)
	if known, there := g.leaders[term]; there && known != node {
		h.Fail("group %d: nodes %d and %d both lead in raft term %d", group, known, node, term)
	}
	g.leaders[term] = node
}

// Committed is told of each committed entry that a replica is about to replay.
// Replicas that disagree on an index have lost the consensus.
func (h *History) Committed(group pinetree.GroupID, at pinetree.RaftIndex, e Entry) {
	g := h.group(group)
	if known, there := g.entries[at]; there && known != e {
		h.Fail("group %d: two different entries were committed at index %d: of raft term %d and of raft term %d", group, at, known.Term, e.Term)
		return
	}
	g.entries[at] = e
}

// Replayed is told where a replica's write ended: replicas that end one at the
// same index are at the same position.
func (h *History) Replayed(group pinetree.GroupID, at pinetree.RaftIndex, position []byte) {
	g, sum := h.group(group), Sum(position)
	if known, there := g.positions[at]; there && known != sum {
		h.Fail("group %d: replicas differ in their position at index %d", group, at)
		return
	}
	g.positions[at] = sum
}

// Sum is the sum by which the history compares bytes.
func Sum(data []byte) uint64 {
	f := fnv.New64a()
	f.Write(data)
	return f.Sum64()
}
