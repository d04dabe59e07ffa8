package database

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pinetree-db/pinetree"
)

// reserveMemTables is how much space a commit leaves free, in memtables: what
// pebble may still write by itself. Those are 3 memtables that wait to be
// flushed, and the tables that a compaction writes before it drops others.
const reserveMemTables = 8

// checkSpace refuses a commit that would come too close to a full disk. A write
// of the log that finds no space is the end of all writes, and a memtable that
// finds none lets all commits wait. A node has its own marks, far above this
// one. What frees space may take half of the reserve.
func (d *DB) checkSpace(freeing bool) error {
	least := uint64(d.options.MinFreeBytes)
	if freeing {
		least /= 2
	}
	usage, err := d.options.FS.GetDiskUsage(d.options.Dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil // a file system in memory
	}
	if err != nil {
		return fmt.Errorf("free space of %s: %w", d.options.Dir, err)
	}
	if usage.AvailBytes < least {
		return fmt.Errorf("%w: %d bytes are free in %s, pebble needs %d to go on; free some and start again", pinetree.ErrDiskFull, usage.AvailBytes, d.options.Dir, least)
	}
	return nil
}
