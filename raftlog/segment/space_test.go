package segment_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree/disk/faultfs"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/segment"
)

// filling is a file system that says how full it is.
type filling struct {
	segment.FS
	free uint64
}

func (f *filling) Usage() (free, total uint64, err error) { return f.free, 1 << 40, nil }

func TestSpaceCountsSparesAndStopsMakingThem(t *testing.T) {
	fs, err := faultfs.New().Open()
	if err != nil {
		t.Fatal(err)
	}
	f := &filling{FS: fs, free: 10 << 20}
	marks := raftlog.SpaceMarks{Warn: 5 << 20, Throttle: 4 << 20, Stop: 3 << 20, Reserve: 2 << 20}
	s, err := segment.OpenFS(f, segment.Inline(segment.Options{SegmentBytes: smallSegment, Marks: marks}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	next := busy(t, s, 1, 1, 1)
	for range 100 {
		if next = busy(t, s, 1, next, 1); s.Stats().Spares > 0 {
			break
		}
	}
	space, err := s.Space()
	if spares := s.Stats().Spares; err != nil || spares == 0 || space.Level != raftlog.SpacePlenty || space.Free < f.free+uint64(spares)*smallSegment/2 {
		t.Errorf("%+v, %v with %d spares and %d bytes free", space, err, spares, f.free)
	}
	f.free = 1 << 20
	for range 2 {
		if space, err = s.Space(); err != nil || space.Level != raftlog.SpaceReserve || space.Err() == nil {
			t.Errorf("%+v, %v", space, err)
		}
		next = busy(t, s, 1, next, 100)
	}
	if spares := s.Stats().Spares; spares != 0 {
		t.Errorf("%d spares are kept on a full disk", spares)
	}
}

// TestSpaceOfARealDisk fills a small file system and frees it again.
func TestSpaceOfARealDisk(t *testing.T) {
	dir := smallFileSystem(t, "64M")
	s, err := segment.Open(filepath.Join(dir, "raftlog"), segment.Options{SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	level := func() raftlog.SpaceLevel {
		space, err := s.Space()
		if err != nil || space.Total == 0 || space.Total > 64<<20 {
			t.Fatalf("%+v, %v", space, err)
		}
		return space.Level
	}
	before := level()
	fill := filepath.Join(dir, "fill")
	data := make([]byte, 1<<20)
	f, err := os.Create(fill)
	if err != nil {
		t.Fatal(err)
	}
	for level() < raftlog.SpaceStop {
		if _, err := f.Write(data); err != nil {
			t.Fatalf("the disk is full and the level is %v: %v", level(), err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	// In the reserve, what must go on does.
	save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 10, 100), MustSync: true})
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	if after := level(); after != before {
		t.Errorf("the level was %v, and is %v when the space is free again", before, after)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// smallFileSystem mounts a file system of that size in memory.
func smallFileSystem(t *testing.T, size string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system takes root")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("no small file system can be mounted: %s", strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %s", out)
		}
	})
	return dir
}
