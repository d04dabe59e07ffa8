package database

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

func noPause() error { time.Sleep(time.Millisecond); return nil }

func valueLogs(t *testing.T, dir string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// TestAValueLogFileStaysUntilWhatWasRewrittenIsOnDisk fills files of the value
// log, deletes most of it, and lets the sync after a rewrite fail.
func TestAValueLogFileStaysUntilWhatWasRewrittenIsOnDisk(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	value := make([]byte, 1<<20)
	var gone []sorted.Entry
	for i := range uint32(150) {
		key := binary.BigEndian.AppendUint32(nil, i)
		if err := d.Commit(sorted.Change{Entries: []sorted.Entry{{Key: key, Value: value}}}); err != nil {
			t.Fatal(err)
		}
		if i%10 > 0 {
			gone = append(gone, sorted.Entry{Key: key, Remove: true})
		}
	}
	if err := errors.Join(d.Commit(sorted.Change{Entries: gone}), d.Sync()); err != nil {
		t.Fatal(err)
	}
	files, err := d.closedValueFiles()
	if err != nil || len(files) < 2 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	before := valueLogs(t, dir)
	if err := d.reclaimFile(files[0], noPause); err != nil || valueLogs(t, dir) != before-1 {
		t.Fatalf("%v, %d of %d files are left, want one less", err, valueLogs(t, dir), before)
	}
	// A file that is a link to itself cannot be opened, and so not be synced.
	if err := os.Symlink("99999.mem", filepath.Join(dir, "99999.mem")); err != nil {
		t.Fatal(err)
	}
	if err := d.reclaimFile(files[1], noPause); !errors.Is(err, unix.ELOOP) || valueLogs(t, dir) != before-1 {
		t.Fatalf("%v, %d files are left, want ELOOP and %d", err, valueLogs(t, dir), before-1)
	}
}
