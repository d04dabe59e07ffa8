package database

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// syncer makes what was committed durable. Badger's own Sync covers the active
// memtable's log alone, and a log that waits to become a table may be lost
// under a newer one that survives; so the files themselves are synced here, all
// logs and what is new in the value log. A log that badger has deleted meanwhile is a table by then, which
// badger syncs, with its name, before.
type syncer struct {
	mu    sync.Mutex    // held by the one who syncs
	begun atomic.Uint64 // syncs that have begun
	// valueLog is the newest value log file that was synced, as a name. Those
	// before it are not written to any more. mu must be held.
	valueLog string
}

// Sync makes all that was committed before the call durable. Calls that wait
// for one another share one. An error stops all writes for good.
func (d *DB) Sync() error {
	before := d.syncer.begun.Load()
	d.syncer.mu.Lock()
	defer d.syncer.mu.Unlock()
	if err := d.Failed(); err != nil {
		return err
	}
	if d.syncer.begun.Load() > before {
		return nil // by one that began after the call, and has ended
	}
	d.syncer.begun.Add(1)
	if err := d.syncFiles(); err != nil {
		d.Fail(err)
	}
	// Badger may have met an error of its own meanwhile.
	return d.Failed()
}

func (d *DB) syncFiles() error {
	files, err := os.ReadDir(d.dir)
	if err != nil {
		return fmt.Errorf("list the files to sync: %w", err)
	}
	newest := d.syncer.valueLog
	for _, file := range files { // by name, which is by age
		name := file.Name()
		switch filepath.Ext(name) {
		case ".mem":
		case ".vlog":
			if name < d.syncer.valueLog {
				continue
			}
			newest = name
		default:
			continue
		}
		if err := syncFile(filepath.Join(d.dir, name)); err != nil {
			return err
		}
	}
	d.syncer.valueLog = newest
	return syncFile(d.dir)
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s to sync it: %w", path, err)
	}
	defer f.Close()
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
