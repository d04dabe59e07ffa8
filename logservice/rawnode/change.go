package rawnode

import (
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Change is the change of members that an entry carries, nil when it carries none.
func Change(e *raftpb.Entry) (raftpb.ConfChangeI, error) {
	switch e.GetType() {
	case raftpb.EntryConfChange:
		change := &raftpb.ConfChange{}
		return change, proto.Unmarshal(e.GetData(), change)
	case raftpb.EntryConfChangeV2:
		change := &raftpb.ConfChangeV2{}
		return change, proto.Unmarshal(e.GetData(), change)
	}
	return nil, nil
}
