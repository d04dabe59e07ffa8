package news

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree/lease"
)

func write(commit uint64) *raftpb.Message {
	term, vote := uint64(3), uint64(1)
	return &raftpb.Message{Type: raftpb.MsgStorageAppend.Enum(), Term: &term, Vote: &vote, Commit: &commit}
}

func TestACommitIndexGoesWithTheNextWriteOrAfterAWhile(t *testing.T) {
	late := lease.Instant(1000).Add(writePatience)
	var u Unwritten
	entries := &raftpb.Message{Type: raftpb.MsgStorageAppend.Enum(), Entries: []*raftpb.Entry{{}}}
	if u.Join(entries) != nil || u.Due(late) != nil {
		t.Error("something of nothing")
	}
	u.Hold(write(5), 1000)
	u.Hold(write(6), 2000)
	u.Hold(&raftpb.Message{}, 2000) // answers alone
	if hard := u.Join(entries); hard.GetCommit() != 6 || hard.GetTerm() != 3 || hard.GetVote() != 1 {
		t.Errorf("with entries: %v", hard)
	}
	if hard := u.Join(entries); hard != nil {
		t.Errorf("written twice: %v", hard)
	}
	u.Hold(write(7), 1000)
	if hard := u.Join(write(8)); hard.GetCommit() != 8 {
		t.Errorf("beside a newer one: %v", hard)
	}
	u.Hold(write(8), 1000)
	u.Hold(write(9), late-1)
	if hard := u.Due(late - 1); hard != nil {
		t.Errorf("early: %v", hard)
	}
	if hard := u.Due(late); hard.GetCommit() != 9 {
		t.Errorf("late: %v", hard)
	}
	if hard := u.Due(late); hard != nil {
		t.Errorf("written twice: %v", hard)
	}
}

func TestOnlyAWriteWithoutAnythingElseIsACommit(t *testing.T) {
	if !OnlyCommit(write(5), false) {
		t.Error("a commit index is none")
	}
	for what, m := range map[string]*raftpb.Message{
		"entries": {Entries: []*raftpb.Entry{{}}}, "a snapshot": {Snapshot: &raftpb.Snapshot{}},
	} {
		if OnlyCommit(m, false) {
			t.Error(what)
		}
	}
	if OnlyCommit(write(5), true) {
		t.Error("a vote")
	}
}
