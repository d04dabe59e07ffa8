package keylog

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree/raftlog"
)

// groupLog is what is kept in memory of a group's log: all but the data.
//
// Invariant: terms are those of the entries from start+1 on.
type groupLog struct {
	hard  hardState
	start raftlog.Point // before the first entry
	terms []uint64
}

func (g *groupLog) first() uint64 { return uint64(g.start.Index) + 1 }

func (g *groupLog) last() uint64 { return uint64(g.start.Index) + uint64(len(g.terms)) }

// term is that of an entry that is there.
func (g *groupLog) term(i uint64) uint64 { return g.terms[i-g.first()] }

// check tells why entries cannot follow, or "".
func (g *groupLog) check(entries []*raftpb.Entry) string {
	if len(entries) == 0 {
		return ""
	}
	at := entries[0].GetIndex()
	switch {
	case at > g.last()+1:
		return fmt.Sprintf("entry %d would leave a hole after %d", at, g.last())
	case at < g.first():
		return fmt.Sprintf("entry %d would overwrite what is compacted up to %d", at, g.start.Index)
	}
	for i, e := range entries {
		if want := at + uint64(i); e.GetIndex() != want {
			return fmt.Sprintf("entry %d comes where %d must", e.GetIndex(), want)
		}
	}
	return ""
}

// apply makes the update's change, once it is checked.
func (g *groupLog) apply(u *raftlog.Update) {
	if u.Restart != nil {
		g.start, g.terms = *u.Restart, nil
	}
	if h := u.HardState; h != nil {
		g.hard = hardState{h.GetTerm(), h.GetVote(), h.GetCommit()}
	}
	if len(u.Entries) > 0 {
		g.terms = g.terms[:u.Entries[0].GetIndex()-g.first()]
		for _, e := range u.Entries {
			g.terms = append(g.terms, e.GetTerm())
		}
	}
}

// compact drops the entries up to index, which is there.
func (g *groupLog) compact(upTo raftlog.Point) {
	n := int(upTo.Index - g.start.Index)
	g.start, g.terms = upTo, g.terms[n:]
	if cap(g.terms) > 2*len(g.terms)+64 {
		g.terms = slices.Clone(g.terms)
	}
}
