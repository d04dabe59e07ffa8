package group

import (
	"log/slog"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/membership"
	"github.com/pinetree-db/pinetree/logservice/rawnode"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/memlog"
)

// The leader encodes its proposals into a buffer that it uses again. The day raft
// keeps the bytes themselves, this fails.
func TestRaftKeepsACopyOfWhatItIsGiven(t *testing.T) {
	members, err := membership.Encode(&raftpb.ConfState{Voters: []uint64{1}})
	if err != nil {
		t.Fatal(err)
	}
	log := memlog.New()
	if err := log.Save([]raftlog.Update{{
		Group: 1, Restart: &raftlog.Point{Index: 1, Term: 1}, HardState: &raftpb.HardState{Term: proto.Uint64(1), Vote: proto.Uint64(0), Commit: proto.Uint64(1)},
	}}); err != nil {
		t.Fatal(err)
	}
	rn, _, err := rawnode.New(rawnode.Config{
		Group: 1, Node: 1, Log: log.View(1), Applied: pinetree.Position{Index: 1, Term: 1, Membership: members},
		Logger: slog.New(slog.DiscardHandler), ElectionTicks: 10, MaxMessageBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := rn.Campaign(); err != nil {
		t.Fatal(err)
	}
	buffer := []byte("proposed")
	offered := false
	for rn.HasReady() {
		for _, m := range rn.Ready().Messages {
			for _, e := range m.GetEntries() {
				if len(e.GetData()) == 0 {
					continue
				}
				if got := string(e.GetData()); got != "proposed" {
					t.Fatalf("after the buffer was used again, the entry says %q", got)
				}
				return
			}
			for _, r := range m.GetResponses() {
				if r.GetTo() == 1 {
					if err := rn.Step(r); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		if !offered && rn.BasicStatus().RaftState == raft.StateLeader {
			offered = true
			from, kind := uint64(1), raftpb.MsgProp
			if err := rn.Step(&raftpb.Message{Type: &kind, From: &from, Entries: []*raftpb.Entry{{Data: buffer}}}); err != nil {
				t.Fatal(err)
			}
			copy(buffer, "reused!!")
		}
	}
	t.Fatal("the entry never came out of raft")
}
