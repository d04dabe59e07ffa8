package walengine_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/walengine"
)

func closeStore(t *testing.T, s *walengine.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRedoVolumeIsRefused(t *testing.T) {
	s, e := openNew(t, t.TempDir(), walengine.Options{})
	defer closeStore(t, s)
	w := engine.Write{Position: pinetree.Position{Index: 1, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{4: {Format: pinetree.FormatRedo}}}}
	if err := e.Apply(w); !errors.Is(err, pinetree.ErrBadBatch) {
		t.Fatalf("a redo volume: %v, want it refused", err)
	}
	if got := e.Position().Index; got != 0 {
		t.Fatalf("the position is %d after a write that was refused", got)
	}
}

// TestTruncatedFilesGo lets the log be truncated bit by bit: the files below go,
// those above stay, and a snapshot keeps what it needs.
func TestTruncatedFilesGo(t *testing.T) {
	dir := t.TempDir()
	s, e := openNew(t, dir, walengine.Options{FileBytes: 8 << 10})
	defer closeStore(t, s)
	count := func() int {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	c := newChain(t, 1<<10)
	write := func(n int) {
		t.Helper()
		for range n {
			if err := e.Apply(c.next()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := e.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		write(10)
	}
	before := count()
	snapshot, err := s.Snapshot(1)
	if err != nil {
		t.Fatal(err)
	}
	v := c.position.Volumes[1]
	v.Truncated = v.LSN - 20<<10
	c.position.Volumes[1] = v
	write(1)
	if got := count(); got != before {
		t.Fatalf("%d files while a snapshot needs them, want %d", got, before)
	}
	if err := snapshot.Chunks(func([]byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := snapshot.Close(); err != nil {
		t.Fatal(err)
	}
	if got := count(); got >= before/2 {
		t.Fatalf("%d of %d files are left after most of the log was truncated", got, before)
	}
	r, err := e.Volume(1)
	if err != nil {
		t.Fatal(err)
	}
	batches := 0
	if err := r.Log(v.Truncated, func(pinetree.Batch) error { batches++; return nil }); err != nil || batches != 21 {
		t.Fatalf("%d batches above the truncated LSN, %v, want 21", batches, err)
	}
	var gone *pinetree.TruncatedError
	if err := r.Log(v.Truncated-1, func(pinetree.Batch) error { return nil }); !errors.As(err, &gone) || gone.First != v.Truncated {
		t.Fatalf("below the truncated LSN: %v", err)
	}
}

// TestManyGroupsNeedFewOpenFiles counts the process's open files.
func TestManyGroupsNeedFewOpenFiles(t *testing.T) {
	open := func() int {
		t.Helper()
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("open files cannot be counted here: ", err)
		}
		return len(entries)
	}
	const groups, most = 60, 8
	s, err := walengine.Open(t.TempDir(), walengine.Options{MaxOpenFiles: most})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	before := open()
	for id := pinetree.GroupID(1); id <= groups; id++ {
		if err := s.Create(id, pinetree.Position{}); err != nil {
			t.Fatal(err)
		}
		e, err := s.Open(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Apply(newChain(t, 100).next()); err != nil {
			t.Fatal(err)
		}
	}
	if got := open() - before; got > most {
		t.Fatalf("%d files are open, the most is %d", got, most)
	}
}
