package history

import (
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
)

// Lease is the time for which a node would answer reads by itself.
type Lease struct {
	Node  pinetree.NodeID
	Term  pinetree.RaftTerm
	Until time.Duration // true time
}

// Holds is told at a true time of every change of what a node thinks of its
// lease. A lease whose end is not after now is none.
func (h *History) Holds(group pinetree.GroupID, l Lease, now time.Duration) {
	others := slices.DeleteFunc(h.leases[group], func(other Lease) bool {
		return other.Node == l.Node || other.Until <= now
	})
	h.leases[group] = others
	if l.Until <= now {
		return
	}
	for _, other := range others {
		h.Fail("group %d: node %d of raft term %d holds the lease until %v, and node %d of raft term %d begins to hold it at %v",
			group, other.Node, other.Term, other.Until, l.Node, l.Term, now)
	}
	h.leases[group] = append(others, l)
}
