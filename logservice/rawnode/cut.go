package rawnode

import (
	"go.etcd.io/raft/v3/raftpb"
)

// cutBytes is about how large a part is that Cut makes.
const cutBytes = 4 << 20

// Cut cuts an order to apply entries into parts, in order, whose answers raft takes
// one by one. Raft hands out as much as it may at once, and nothing more before it
// hears of the whole, so that nothing would be read while something is replayed.
func Cut(m *raftpb.Message) []*raftpb.Message {
	if len(m.Entries) == 0 || len(m.Responses) != 1 || m.Responses[0].GetType() != raftpb.MsgStorageApplyResp {
		return []*raftpb.Message{m}
	}
	var parts []*raftpb.Message
	for first, size, i := 0, 0, 0; i < len(m.Entries); i++ {
		if size += len(m.Entries[i].GetData()); size < cutBytes && i+1 < len(m.Entries) {
			continue
		}
		part := m.Entries[first : i+1 : i+1]
		answer := m.Responses[0]
		parts = append(parts, &raftpb.Message{
			Type: m.Type, To: m.To, From: m.From, Term: m.Term, Entries: part,
			Responses: []*raftpb.Message{{Type: answer.Type, To: answer.To, From: answer.From, Term: answer.Term, Entries: part}},
		})
		first, size = i+1, 0
	}
	return parts
}
