package database

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

const (
	// scratchKey is a key of no meaning. Nobody else uses it.
	scratchKey = "\xFFscratch"
	// cutShare is the part of a file of the value log that it holds at least when it is
	// closed before it is full.
	cutShare = 4
	// cutLimit is how long cut waits for a memtable to become a table. A reader may
	// keep its log for longer.
	cutLimit = 20 * time.Second
)

// cut makes a table of the memtable, and closes the file of the value log that is
// written to if it holds enough: badger compacts tables alone, and rewrites only
// files that are closed. Badger does either when something is full and by itself
// never; here the limits are zero for the time of a write that means nothing.
func (d *DB) cut(pause func() error) error {
	before, err := d.files()
	if err != nil {
		return err
	}
	if err := d.cutNow(before.newestValues >= d.badger.Opts().ValueLogFileSize/cutShare); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < cutLimit; {
		if err := pause(); err != nil {
			return err
		}
		now, err := d.files()
		if err != nil || now.oldestMemTable > before.newestMemTable {
			return err
		}
	}
	return nil
}

func (d *DB) cutNow(values bool) error {
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	err := d.Failed()
	if err == nil {
		err = d.checkSpace(true)
	}
	if err != nil {
		return err
	}
	remove := []*request{{entries: []sorted.Entry{{Key: []byte(scratchKey), Remove: true}}}}
	if values {
		usual := *d.hidden.maxValues
		*d.hidden.maxValues = 0
		err = d.transact([]*request{{entries: []sorted.Entry{{Key: []byte(scratchKey), Value: make([]byte, valueThreshold)}}}})
		*d.hidden.maxValues = usual
	} else {
		err = d.transact(remove) // badger makes no table of an empty memtable
	}
	var limit *int64
	if err == nil {
		limit, err = memTableLimit(d.badger)
	}
	if err == nil {
		*limit = 0
		err = d.transact(remove) // into the next one
	}
	if err != nil {
		d.Fail(err)
	}
	return d.Failed()
}

// files is what there is in the directory of what badger calls memtables and value
// logs. Names rise.
type files struct {
	oldestMemTable, newestMemTable string
	newestValues                   int64 // bytes on the disk; badger makes files larger than what is in them
}

func (d *DB) files() (files, error) {
	var all files
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return all, err
	}
	for _, entry := range entries {
		switch name := entry.Name(); filepath.Ext(name) {
		case ".mem":
			if all.oldestMemTable == "" {
				all.oldestMemTable = name
			}
			all.newestMemTable = name
		case ".vlog":
			var stat unix.Stat_t
			if err := unix.Stat(filepath.Join(d.dir, name), &stat); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return all, &fs.PathError{Op: "stat", Path: name, Err: err}
			}
			all.newestValues = stat.Blocks * 512
		}
	}
	return all, nil
}
