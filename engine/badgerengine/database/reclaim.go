package database

import (
	"errors"

	"github.com/dgraph-io/badger/v4"

	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

const (
	// reclaimRatio is the part of a value log file that must be of no use for
	// badger to rewrite the rest of it.
	reclaimRatio = 0.5
	// maxSettleBytes bounds the tables that settle rewrites while all wait. A
	// database with more of them has writes that make badger compact anyway.
	maxSettleBytes = 128 << 20
	// scratchKey is a key of no meaning. Nobody else uses it.
	scratchKey = "\xFFscratch"
)

// Reclaim implements sorted.Reclaimer.
func (d *DB) Reclaim(dropped bool, pause func() error) error {
	if dropped {
		if err := d.settle(); err != nil {
			return err
		}
	}
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

// settle makes deletions meet what they delete, which is when badger learns
// which values are of no more use. The memtable becomes a table by dropping a
// key that is there for nothing else; then all levels are compacted.
func (d *DB) settle() error {
	var size int64
	for _, t := range d.badger.Tables() {
		size += int64(t.OnDiskSize)
	}
	if size > maxSettleBytes {
		return nil
	}
	if err := d.Commit(sorted.Change{Entries: []sorted.Entry{{Key: []byte(scratchKey)}}, Freeing: true}); err != nil {
		return err
	}
	d.commitMu.Lock() // badger refuses writes meanwhile
	err := d.badger.DropPrefix([]byte(scratchKey))
	d.commitMu.Unlock()
	if err == nil {
		err = d.badger.Flatten(1)
	}
	if err != nil {
		d.Fail(err)
	}
	return d.Failed()
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
	return true, nil
}
