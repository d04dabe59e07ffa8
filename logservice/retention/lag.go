package retention

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
)

// Entries is a raft log, of which Lag reads.
type Entries interface {
	// Entries returns those of [low, high), as many as maxBytes allow, and at
	// least one.
	Entries(low, high, maxBytes uint64) ([]*raftpb.Entry, error)
}

// Lag adds up the bytes of the entries of (match, last], until the bound is
// passed. What cannot be read counts as more than the bound.
func Lag(log Entries, match, last pinetree.RaftIndex, bound int) int {
	total := 0
	for match < last && total <= bound {
		entries, err := log.Entries(uint64(match)+1, uint64(last)+1, uint64(bound-total)+1)
		if err != nil || len(entries) == 0 {
			return bound + 1
		}
		for _, e := range entries {
			total += len(e.GetData())
		}
		match += pinetree.RaftIndex(len(entries))
	}
	return total
}
