package lsm

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pinetree-db/pinetree"
)

// TestAFullDiskStopsWritesAndNotTheProcess fills a small file system. Without
// the reserve the kernel ends this process with SIGBUS.
func TestAFullDiskStopsWritesAndNotTheProcess(t *testing.T) {
	onEach(t, testAFullDiskStopsWritesAndNotTheProcess)
}

func testAFullDiskStopsWritesAndNotTheProcess(t *testing.T, k kind) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+k.disk); err != nil {
		t.Skipf("no small file system to be had here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s := k.open(t, dir)
	g := openGroup(t, s)
	var err error
	applied := pinetree.LSN(0)
	for ; err == nil; applied++ {
		err = g.Apply(bigWrite(t, pinetree.RaftIndex(applied+1), applied, applied+1))
	}
	applied--
	if !errors.Is(err, pinetree.ErrDiskFull) {
		t.Fatalf("after %d writes: %v, want ErrDiskFull", applied, err)
	}
	if end := logEnd(t, g, 1); end != applied || applied < 10 {
		t.Fatalf("the log ends at %s, %d writes were applied", end, applied)
	}
	flush(t, g)
	closeStore(t, s)
	if end := logEnd(t, openGroup(t, k.open(t, dir)), 2); end != applied {
		t.Fatalf("after a restart the log ends at %s, %d writes were applied", end, applied)
	}
}
