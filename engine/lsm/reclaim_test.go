package lsm

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
)

// valueLogBytes is what the value log takes on the disk.
func valueLogBytes(t *testing.T, dir string) (total int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		info, err := os.Stat(path)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	return total
}

// TestTheSpaceOfDroppedGenerationsComesBack removes one of two groups that have
// written side by side, and reads the other one afterwards.
func TestTheSpaceOfDroppedGenerationsComesBack(t *testing.T) {
	dir := t.TempDir()
	s := onBadger.open(t, dir)
	kept := openGroup(t, s)
	if err := s.Create(2, pinetree.Position{}); err != nil {
		t.Fatal(err)
	}
	e, err := s.Open(2)
	if err != nil {
		t.Fatal(err)
	}
	const writes, groupBytes = 60, 60 * 4 << 20
	for i := range pinetree.LSN(writes) {
		if err := e.Apply(bigWrite(t, pinetree.RaftIndex(i+1), 2*i, 2*i+2)); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			n := i / 10
			if err := kept.Apply(bigWrite(t, pinetree.RaftIndex(n+1), n, n+1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	flush(t, kept)
	before := valueLogBytes(t, dir)
	if before < groupBytes {
		t.Fatalf("the value log has %d bytes, two groups wrote %d at least", before, groupBytes)
	}
	if err := s.Remove(2); err != nil {
		t.Fatal(err)
	}
	// The file at hand, twice its size while it is written to, cannot go.
	for start := time.Now(); valueLogBytes(t, dir) > before-groupBytes/2; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("the value log has %d bytes, %d of %d were dropped", valueLogBytes(t, dir), groupBytes, before)
		}
	}
	if end := logEnd(t, kept, 2); end != 6 {
		t.Fatalf("the other group's log ends at %s, want 0/6", end)
	}
	if err := s.Verify(); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if end := logEnd(t, openGroup(t, onBadger.open(t, dir)), 1); end != 6 {
		t.Fatalf("after a restart the other group's log ends at %s, want 0/6", end)
	}
}
