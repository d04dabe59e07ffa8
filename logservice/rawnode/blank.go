package rawnode

import (
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// BlankContext marks the answers of a blank replica to heartbeats, in place of
// the quorum read that they would confirm.
const BlankContext = "blank"

// FromBlank tells whether a message is the answer of a blank replica, which has
// no voice even if this leader takes it for a voter.
func FromBlank(m *raftpb.Message) bool {
	switch m.GetType() {
	case raftpb.MsgHeartbeatResp:
		return string(m.GetContext()) == BlankContext
	case raftpb.MsgAppResp:
		return m.GetReject() && m.GetRejectHint() == 0 && m.GetLogTerm() == 0
	}
	return false
}

// Unmarked is a message as raft may have it, which reads every context as a
// quorum read's.
func Unmarked(m *raftpb.Message) *raftpb.Message {
	if m.GetType() != raftpb.MsgHeartbeatResp || !FromBlank(m) {
		return m
	}
	m = proto.CloneOf(m)
	m.Context = nil
	return m
}
