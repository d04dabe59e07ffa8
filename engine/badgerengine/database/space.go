package database

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/pinetree-db/pinetree"
)

// reserveMemTables is how much space a commit leaves free, in memtables: what
// badger may still write by itself. Those are 3 memtables that wait to be
// flushed, up to 8 tables of level 0 and a base level of 4 more that are
// rewritten before they are dropped, and as much as the latter for the second
// compaction that may run.
const reserveMemTables = 20

// checkSpace refuses a commit that would come too close to a full disk. Badger
// writes through mappings of files with holes: where there is no space for a
// page, the kernel ends the whole process with SIGBUS. A node has its own
// marks, far above this one. What frees space may take half of the reserve: a
// deletion is small, and badger makes use of it only by writing.
func (d *DB) checkSpace(freeing bool) error {
	least := d.minFreeBytes
	if freeing {
		least /= 2
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(d.dir, &fs); err != nil {
		return fmt.Errorf("free space of %s: %w", d.dir, err)
	}
	if free := int64(fs.Bavail) * int64(fs.Bsize); free < least {
		return fmt.Errorf("%w: %d bytes are free in %s, badger needs %d to go on; free some and start again", pinetree.ErrDiskFull, free, d.dir, least)
	}
	return nil
}
