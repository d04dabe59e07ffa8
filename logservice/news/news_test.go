package news

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

const delay = 20 * time.Millisecond

func message(to, commit uint64, entries int) *raftpb.Message {
	m := &raftpb.Message{Type: raftpb.MsgApp.Enum(), To: &to, Commit: &commit}
	for range entries {
		m.Entries = append(m.Entries, &raftpb.Entry{})
	}
	return m
}

func TestNewsWaitOnlyWhileEntriesKeepComing(t *testing.T) {
	var d Desk
	d.Entries(1000)
	if d.Hold(message(2, 5, 0), 2000, delay) {
		t.Error("held after the first entries in a while")
	}
	d.Entries(3000)
	if !d.Hold(message(2, 6, 0), 4000, delay) {
		t.Error("sent at once while entries keep coming")
	}
	late := d.Due().Add(time.Second)
	d.Take()
	d.Entries(late)
	if d.Hold(message(2, 7, 0), late.Add(1000), delay) {
		t.Error("held although nothing came for a second")
	}
}

func TestEntriesAndLaterNewsTakeThePlaceOfWhatWaits(t *testing.T) {
	var d Desk
	d.Entries(1000)
	d.Entries(2000)
	for _, m := range []*raftpb.Message{message(3, 5, 0), message(2, 5, 0), message(3, 6, 0)} {
		if !d.Hold(m, 3000, delay) {
			t.Fatalf("sent at once: %v", m)
		}
	}
	if d.Hold(message(2, 6, 1), 4000, delay) {
		t.Error("entries are held")
	}
	if d.Due() != 3000+20_000_000 {
		t.Errorf("due at %d", d.Due())
	}
	left := d.Take()
	if len(left) != 1 || left[0].GetTo() != 3 || left[0].GetCommit() != 6 || d.Due() != 0 {
		t.Errorf("waits: %v, due at %d", left, d.Due())
	}
}

func TestOnlyAppendsWait(t *testing.T) {
	var d Desk
	d.Entries(1000)
	d.Entries(2000)
	to := uint64(2)
	if d.Hold(&raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), To: &to}, 3000, delay) {
		t.Error("a heartbeat is held")
	}
}
