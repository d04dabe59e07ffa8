package news

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree/lease"
)

// writePatience is how long a commit index waits for a write to go with.
const writePatience = 500 * time.Millisecond

// Unwritten is a hard state in which only the commit index is new, and which the
// raft log was not yet given. Raft wants no sync of it: a replica that has lost it
// goes on from where its engine is, and learns the rest from the leader. So it is
// written with the next entries, and a commit costs one write instead of two. The
// zero Unwritten is empty.
type Unwritten struct {
	hard  *raftpb.HardState
	since lease.Instant
}

// OnlyCommit tells whether a write to the raft log has at most a new commit index,
// beside the answers that follow it.
func OnlyCommit(m *raftpb.Message, mustSync bool) bool {
	return !mustSync && len(m.Entries) == 0 && m.Snapshot == nil
}

// Hold keeps the hard state of such a write.
func (u *Unwritten) Hold(m *raftpb.Message, now lease.Instant) {
	hard := hardState(m)
	if hard == nil {
		return
	}
	if u.hard == nil {
		u.since = now
	}
	u.hard = hard
}

// Join returns the hard state to be written with another write: its own, which is
// newer, or what was held; nil when nothing is new.
func (u *Unwritten) Join(m *raftpb.Message) *raftpb.HardState {
	held := u.hard
	u.hard = nil
	if own := hardState(m); own != nil {
		return own
	}
	return held
}

// Due returns what has waited for long, nil when nothing has.
func (u *Unwritten) Due(now lease.Instant) *raftpb.HardState {
	if u.hard == nil || now.Sub(u.since) < writePatience {
		return nil
	}
	due := u.hard
	u.hard = nil
	return due
}

// hardState is what a write changes of it; nil when nothing.
func hardState(m *raftpb.Message) *raftpb.HardState {
	if m.GetTerm() == 0 {
		return nil
	}
	return &raftpb.HardState{Term: m.Term, Vote: proto.Uint64(m.GetVote()), Commit: proto.Uint64(m.GetCommit())}
}
