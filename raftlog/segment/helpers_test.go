package segment_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/disk/faultfs"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/segment"
)

// entries makes count entries of raft term 1 with data of that many bytes.
func entries(first pinetree.RaftIndex, count, bytesEach int) []*raftpb.Entry {
	made := make([]*raftpb.Entry, count)
	for i := range made {
		index, term, kind := uint64(first)+uint64(i), uint64(1), raftpb.EntryNormal
		data := bytes.Repeat([]byte{byte(index) | 1}, bytesEach)
		copy(data, fmt.Sprintf("entry %d;", index))
		made[i] = &raftpb.Entry{Index: &index, Term: &term, Type: &kind, Data: data}
	}
	return made
}

func open(t testing.TB, d *faultfs.Disk, o segment.Options) *segment.Store {
	t.Helper()
	s, err := tryOpen(d, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func tryOpen(d *faultfs.Disk, o segment.Options) (*segment.Store, error) {
	fs, err := d.Open()
	if err != nil {
		return nil, err
	}
	return segment.OpenFS(fs, segment.Inline(o))
}

func save(t testing.TB, s *segment.Store, updates ...raftlog.Update) {
	t.Helper()
	if err := s.Save(updates); err != nil {
		t.Fatalf("Save: %v", err)
	}
}

// wantEntries checks that a group has entries [first, first+count), as made by
// entries.
func wantEntries(t testing.TB, s *segment.Store, group pinetree.GroupID, first pinetree.RaftIndex, count int) {
	t.Helper()
	if err := s.CheckAccounts(); err != nil {
		t.Fatal(err)
	}
	got, err := s.View(group).Entries(uint64(first), uint64(first)+uint64(count), math.MaxUint64)
	if err != nil || len(got) != count {
		t.Fatalf("group %d: Entries from %d: %d entries, %v, want %d", group, first, len(got), err, count)
	}
	for i, e := range got {
		if e.GetIndex() != uint64(first)+uint64(i) || !strings.HasPrefix(string(e.Data), fmt.Sprintf("entry %d;", e.GetIndex())) {
			t.Fatalf("group %d: entry %d came as %d, %.20q", group, uint64(first)+uint64(i), e.GetIndex(), e.Data)
		}
	}
}

// wantCorrupt checks that an error names a place and says what is wrong there.
func wantCorrupt(t testing.TB, err error, parts ...string) {
	t.Helper()
	var corrupt *pinetree.CorruptError
	if !errors.As(err, &corrupt) {
		t.Fatalf("%v, want a CorruptError", err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}
