package memlog_test

import (
	"errors"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/memlog"
)

func entries(term uint64, indexes ...uint64) []*raftpb.Entry {
	var made []*raftpb.Entry
	for _, index := range indexes {
		made = append(made, &raftpb.Entry{Index: &index, Term: &term, Data: []byte{byte(term), byte(index)}})
	}
	return made
}

func save(t *testing.T, s raftlog.Store, updates ...raftlog.Update) {
	t.Helper()
	if err := s.Save(updates); err != nil {
		t.Fatal(err)
	}
}

// wantLog checks the terms of a group's entries from first on.
func wantLog(t *testing.T, s raftlog.Store, group pinetree.GroupID, first uint64, terms ...uint64) {
	t.Helper()
	v := s.View(group)
	if got, _ := v.FirstIndex(); got != first {
		t.Errorf("group %d: FirstIndex is %d, want %d", group, got, first)
	}
	last, _ := v.LastIndex()
	if want := first + uint64(len(terms)) - 1; last != want {
		t.Errorf("group %d: LastIndex is %d, want %d", group, last, want)
	}
	for i, want := range terms {
		if got, err := v.Term(first + uint64(i)); got != want || err != nil {
			t.Errorf("group %d: term of %d is %d, %v, want %d", group, first+uint64(i), got, err, want)
		}
	}
}

func TestCrashForgetsExactlyWhatWasNotSynced(t *testing.T) {
	s := memlog.New()
	save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 1, 2, 3), MustSync: true})
	// Overwrites the end of 1 and adds 2, without a sync.
	save(t, s, raftlog.Update{Group: 1, Entries: entries(2, 2)}, raftlog.Update{Group: 2, Entries: entries(2, 1)})
	if err := s.Compact(1, 1); err != nil {
		t.Fatal(err)
	}
	wantLog(t, s, 1, 2, 2)
	if got := s.Unsynced(); got != 3 {
		t.Errorf("Unsynced is %d, want 3", got)
	}
	s.Crash()
	wantLog(t, s, 1, 1, 1, 1, 1)
	if got := s.Groups(); len(got) != 1 || got[0] != 1 {
		t.Errorf("Groups are %v, want [1]", got)
	}
	wantLog(t, s, 2, 1)
}

func TestOneSyncCoversAllThatWasSavedBefore(t *testing.T) {
	s := memlog.New()
	save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 1, 2)})
	if err := s.Compact(1, 1); err != nil {
		t.Fatal(err)
	}
	save(t, s, raftlog.Update{Group: 2, Entries: entries(1, 1)}, raftlog.Update{Group: 3, MustSync: true})
	s.Crash()
	wantLog(t, s, 1, 2, 1)
	wantLog(t, s, 2, 1, 1)
}

func TestCrashKeepingKeepsAPrefix(t *testing.T) {
	s := memlog.New()
	save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 1, 2)}, raftlog.Update{Group: 1, Entries: entries(2, 2, 3)})
	if err := s.Compact(1, 2); err != nil {
		t.Fatal(err)
	}
	s.CrashKeeping(2)
	wantLog(t, s, 1, 1, 1, 2, 2)
	s.Crash()
	wantLog(t, s, 1, 1, 1, 2, 2)
}

func TestRemoveIsDurable(t *testing.T) {
	s := memlog.New()
	save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 1), MustSync: true})
	save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 2)}, raftlog.Update{Group: 2, Entries: entries(1, 1)})
	if err := s.Remove(1); err != nil {
		t.Fatal(err)
	}
	s.CrashKeeping(100)
	wantLog(t, s, 1, 1)
	wantLog(t, s, 2, 1, 1)
}

func TestFailedStoreTakesNothingUntilCrash(t *testing.T) {
	s := memlog.New()
	save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 1), MustSync: true})
	s.Fail()
	for name, err := range map[string]error{
		"Save": s.Save(nil), "Compact": s.Compact(1, 1), "Remove": s.Remove(1), "Probe": s.Probe(),
	} {
		if !errors.Is(err, raftlog.ErrFailed) {
			t.Errorf("%s: %v, want ErrFailed", name, err)
		}
	}
	s.Crash()
	save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 2)})
	wantLog(t, s, 1, 1, 1, 1)
}
