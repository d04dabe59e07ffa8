package database

import (
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// reclaimRatio is the part of a value log file that must be of no use for badger
// to rewrite the rest of it.
const reclaimRatio = 0.5

var _ sorted.Reclaimer = (*DB)(nil)

// Reclaim implements sorted.Reclaimer. What compactions have found by themselves
// comes first: while much is written, that is all.
func (d *DB) Reclaim(dropped bool, pause func() error) error {
	if err := d.rewriteAll(pause); err != nil {
		return err
	}
	if dropped {
		if err := d.cut(pause); err != nil {
			return err
		}
	}
	if !d.settled.due(time.Now()) || !worthSettling(d.badger.Tables(), d.owed.Load()) {
		return nil
	}
	if err := d.settle(pause); err != nil {
		return err
	}
	d.owed.Store(0)
	return d.rewriteAll(pause)
}

// rewriteAll rewrites files of the value log while there is one with enough to
// give back.
func (d *DB) rewriteAll(pause func() error) error {
	for {
		rewritten, err := d.rewriteOne()
		if !rewritten || err != nil {
			return err
		}
		if err := pause(); err != nil {
			return err
		}
	}
}

// rewriteOne lets badger rewrite the value log file with the most to give back;
// false when there is none. Badger deletes a file at once, though what it has
// rewritten is not synced. It does not while an iterator is open: so one is,
// until all is on disk, and for good when it cannot be. Commits wait meanwhile, for
// as long as it takes to read a file of 64 MiB and to write what lives in it.
func (d *DB) rewriteOne() (rewritten bool, err error) {
	defer d.panicIsDamage(&err)
	if err := d.checkSpace(true); err != nil {
		return false, err
	}
	before, err := d.files()
	if err != nil {
		return false, err
	}
	txn := d.badger.NewTransactionAt(newest, false)
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(scratchKey)})
	d.commitMu.Lock() // badger reads the newest version without a lock
	err = d.valuesFirst(func() error { return d.badger.RunValueLogGC(reclaimRatio) })
	d.commitMu.Unlock()
	if errors.Is(err, badger.ErrNoRewrite) {
		it.Close()
		txn.Discard()
		return false, nil
	}
	if err != nil {
		d.Fail(err)
		return false, d.Failed()
	}
	if err := d.Sync(); err != nil {
		return false, err
	}
	it.Close()
	txn.Discard()
	after, err := d.files()
	if err != nil {
		return false, err
	}
	d.owed.Store(max(0, d.owed.Load()-max(0, before.valueBytes-after.valueBytes)))
	return true, nil
}
