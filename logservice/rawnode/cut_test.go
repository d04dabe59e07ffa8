package rawnode

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// TestPartsOfAnOrderToApplyHaveAllEntriesAndAnswers: raft must hear of each entry
// once, in order.
func TestPartsOfAnOrderToApplyHaveAllEntriesAndAnswers(t *testing.T) {
	for _, sizes := range [][]int{nil, {1}, {cutBytes}, {1, cutBytes, 1}, {cutBytes / 2, cutBytes / 2, cutBytes / 2}, {3 * cutBytes, 1, 1}} {
		m := &raftpb.Message{Type: raftpb.MsgStorageApply.Enum(), To: proto.Uint64(7)}
		for i, size := range sizes {
			m.Entries = append(m.Entries, &raftpb.Entry{Index: proto.Uint64(uint64(i + 1)), Data: make([]byte, size)})
		}
		m.Responses = []*raftpb.Message{{Type: raftpb.MsgStorageApplyResp.Enum(), To: proto.Uint64(1), Entries: m.Entries}}
		parts := Cut(m)
		next := uint64(1)
		for n, part := range parts {
			size := 0
			for i, e := range part.Entries {
				if e.GetIndex() != next || len(part.Responses) != 1 || part.Responses[0].Entries[i] != e {
					t.Fatalf("%v: part %d has entry %d, want %d in it and in its answer", sizes, n, e.GetIndex(), next)
				}
				next, size = next+1, size+len(e.GetData())
			}
			if n+1 < len(parts) && size < cutBytes || size > 3*cutBytes+2 {
				t.Errorf("%v: part %d of %d has %d bytes", sizes, n, len(parts), size)
			}
			if len(part.Responses[0].Entries) != len(part.Entries) || part.GetTo() != 7 || part.Responses[0].GetTo() != 1 {
				t.Fatalf("%v: part %d: %v", sizes, n, part)
			}
		}
		if len(parts) == 0 || next != uint64(len(sizes)+1) {
			t.Fatalf("%v: %d parts up to entry %d", sizes, len(parts), next-1)
		}
	}
}
