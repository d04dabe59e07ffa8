// Package database is a pebble database as a sorted.Database: an end of all
// writes at the first error, which pebble itself would make the end of the
// process, and a reserve of free space. It knows keys and values as bytes and
// nothing of groups, logs or pages.
package database

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// DB is an open database. Everything may be called by any goroutine, Reclaim by one
// at a time.
type DB struct {
	pebble  *pebble.DB
	options Options
	failed  sorted.Failure

	reclaimed reclaiming // of the goroutine that calls Reclaim
}

var _ sorted.Database = (*DB)(nil)

const (
	// maxCommitBytes and maxCommitEntries bound one commit, so that several
	// fit into a memtable.
	maxCommitBytes, maxCommitEntries = 2 << 20, 32 << 10
	// closeLimit is how long Close waits for pebble after an error, which may
	// have ended a call of pebble's while it held what Close waits for.
	closeLimit = 5 * time.Second
)

// Traits implements sorted.Database. Pebble's log is one, and it ends where its
// first gap is: what survives a crash is all that was committed up to a point.
func (d *DB) Traits() sorted.Traits {
	return sorted.Traits{
		Name: "pebble", Dir: d.options.Dir, Log: d.log(), InOrder: true, ReadOnly: d.options.ReadOnly,
		MaxCommitBytes: maxCommitBytes, MaxCommitEntries: maxCommitEntries,
	}
}

func (d *DB) log() *slog.Logger { return d.options.Logger }

// Commit implements sorted.Database, as one batch of pebble's.
func (d *DB) Commit(c sorted.Change) error {
	return d.write(c.Freeing, pebble.NoSync, func(b *pebble.Batch) (err error) {
		for _, e := range c.Entries {
			if e.Remove {
				err = b.Delete(e.Key, nil)
			} else {
				err = b.Set(e.Key, e.Value, nil)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteRange implements sorted.Database: everything, in one step.
func (d *DB) DeleteRange(start, end []byte) (more bool, err error) {
	return false, d.write(true, pebble.NoSync, func(b *pebble.Batch) error { return b.DeleteRange(start, end, nil) })
}

// Sync implements sorted.Database. It adds to the log what says nothing, and
// syncs the log up to there.
func (d *DB) Sync() error {
	return d.write(true, pebble.Sync, func(b *pebble.Batch) error { return b.LogData(nil, nil) })
}

// write commits what fill puts into a batch. An error but for a full disk is
// the end of all writes.
func (d *DB) write(freeing bool, durably *pebble.WriteOptions, fill func(*pebble.Batch) error) error {
	if err := d.Failed(); err != nil {
		return err
	}
	if err := d.checkSpace(freeing); err != nil {
		return err
	}
	err := caught(func() error {
		b := d.pebble.NewBatch()
		defer b.Close()
		if err := fill(b); err != nil {
			return err
		}
		return b.Commit(durably)
	})
	if err != nil {
		d.fail(err)
	}
	return d.Failed() // pebble may have met an error of its background work meanwhile
}

// Scan implements sorted.Database.
func (d *DB) Scan(prefix []byte, fn func(sorted.Iterator) error) error {
	return d.damage(caught(func() error {
		it, err := d.pebble.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
		if err != nil {
			return err
		}
		err = fn(iterator{it})
		// What pebble could not read looks to fn like the end of the keys.
		if failed := it.Error(); failed != nil {
			err = failed
		}
		if closing := it.Close(); err == nil {
			err = closing
		}
		return err
	}))
}

// after is the first key that does not begin with the prefix; nil when there is
// none.
func after(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xFF {
			return append(append([]byte{}, prefix[:i]...), prefix[i]+1)
		}
	}
	return nil
}

type iterator struct{ it *pebble.Iterator }

// Seek implements sorted.Iterator.
func (i iterator) Seek(key []byte) {
	if key == nil {
		i.it.First()
		return
	}
	i.it.SeekGE(key)
}

// Next implements sorted.Iterator.
func (i iterator) Next() { i.it.Next() }

// Valid implements sorted.Iterator.
func (i iterator) Valid() bool { return i.it.Valid() }

// Key implements sorted.Iterator.
func (i iterator) Key() []byte { return i.it.Key() }

// Value implements sorted.Iterator.
func (i iterator) Value(fn func([]byte) error) error {
	value, err := i.it.ValueAndErr()
	if err != nil {
		return err
	}
	return fn(value)
}

// damage makes what pebble calls corrupted a *pinetree.CorruptError.
func (d *DB) damage(err error) error {
	if err != nil && pebble.IsCorruptionError(err) && !errors.Is(err, pinetree.ErrCorrupt) {
		return &pinetree.CorruptError{Where: d.options.Dir, What: err.Error()}
	}
	return err
}

// Failed implements sorted.Database.
func (d *DB) Failed() error { return d.failed.Get() }

// fail stops all writes for good.
func (d *DB) fail(err error) {
	d.failed.Set(fmt.Errorf("the pebble engine in %s takes no more writes until it is opened again: %w", d.options.Dir, d.damage(err)))
}

// Close implements sorted.Database. What was not synced is synced, and found in
// the log by the next Open. After an error it does not wait for pebble for
// longer than some seconds: its files are then open until the process ends.
func (d *DB) Close() error {
	done := make(chan error, 1)
	go func() { done <- caught(d.pebble.Close) }()
	var limit <-chan time.Time
	if d.Failed() != nil {
		timer := time.NewTimer(closeLimit)
		defer timer.Stop()
		limit = timer.C
	}
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("closing the pebble engine in %s: %w", d.options.Dir, err)
		}
		return nil
	case <-limit:
		return fmt.Errorf("closing the pebble engine in %s: pebble does not end after its error; restart the process: %w", d.options.Dir, d.Failed())
	}
}
