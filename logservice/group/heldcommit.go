package group

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree/lease"
)

// commitPatience is how long a commit index waits for a write to go with.
const commitPatience = lease.Instant(500 * time.Millisecond)

// heldCommit is a hard state in which only the commit index is new, and which is
// not yet given to the raft log. Raft wants no sync of it: a replica that has lost
// it goes on from where its engine is, and learns the rest from the leader. So it
// is written with the next entries, and a commit costs one write instead of two.
type heldCommit struct {
	hard  *raftpb.HardState
	since lease.Instant
}

// hold keeps a write back in which no more than the commit index is new, and gives
// the answers that were to follow it: to a commit that a follower was told of. They
// may come only after all writes before have ended; until then it refuses.
func (h *heldCommit) hold(r *Replica, m *raftpb.Message, mustSync bool) bool {
	if mustSync || len(m.Entries) > 0 || m.Snapshot != nil || len(m.Responses) > 0 && r.saving > 0 {
		return false
	}
	if hard := hardState(m); hard != nil {
		if h.hard == nil {
			h.since = r.now
		}
		h.hard = hard
	}
	r.respond(m.Responses)
	return true
}

// join is the hard state for a write that comes now, with one of its own or nil.
func (h *heldCommit) join(own *raftpb.HardState) *raftpb.HardState {
	held := h.hard
	h.hard = nil
	if own != nil {
		return own
	}
	return held
}

// due is what has waited long enough; nil when nothing has.
func (h *heldCommit) due(now lease.Instant) *raftpb.HardState {
	if h.hard == nil || now < h.since+commitPatience {
		return nil
	}
	return h.join(nil)
}
