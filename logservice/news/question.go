package news

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
)

// Question is a heartbeat that every member is to answer: it tells them the commit
// index under a context of its own, which they send back. The zero Question was
// not asked.
type Question struct {
	context string
	at      lease.Instant
	heard   map[pinetree.NodeID]bool
}

// Ask begins anew, under a context that was never used.
func (q *Question) Ask(context []byte, now lease.Instant) {
	*q = Question{context: string(context), at: now, heard: map[pinetree.NodeID]bool{}}
}

// Overdue tells that there is no question, or one that was lost by now.
func (q *Question) Overdue(now lease.Instant, patience time.Duration) bool {
	return q.context == "" || now.Sub(q.at) >= patience
}

// Hear takes in the answer of a member.
func (q *Question) Hear(m *raftpb.Message) {
	if q.context != "" && string(m.GetContext()) == q.context {
		q.heard[pinetree.NodeID(m.GetFrom())] = true
	}
}

// AnsweredBy tells whether all members but the one who asked have answered.
func (q *Question) AnsweredBy(members []pinetree.NodeID, asks pinetree.NodeID) bool {
	for _, id := range members {
		if id != asks && !q.heard[id] {
			return false
		}
	}
	return true
}
