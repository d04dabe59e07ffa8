package wirepb

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
)

// GroupMessage is a raft message and the group it belongs to.
type GroupMessage struct {
	Group   pinetree.GroupID
	Message *raftpb.Message
}
