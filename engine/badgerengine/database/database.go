// Package database is a badger database as a sorted.Database: transactions
// that several callers share, syncs that leave no hole, a reserve of free
// space, and an end of all writes at the first error. It knows keys and values
// as bytes and nothing of groups, logs or pages.
package database

import (
	"fmt"
	"log/slog"
	"math"

	"github.com/dgraph-io/badger/v4"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// DB is an open database. Everything may be called by any goroutine, Reclaim by
// one at a time, but for Close: badger unmaps its files then, and a read of an unmapped file kills the
// process.
type DB struct {
	badger       *badger.DB
	dir          string
	log          *slog.Logger
	minFreeBytes int64
	hidden       hidden
	readOnly     bool

	committer
	syncer syncer
	failed sorted.Failure

	deleted deletions
	opened  uint32 // the newest file of the value log that was there before
	// Of the goroutine that calls Reclaim.
	looks      map[uint32]look // by file of the value log
	settled    settling
	beforeStep func() // of flatten
	ahead      uint32 // the file of the value log that was read ahead last
}

var (
	_ sorted.Database = (*DB)(nil)
	_ sorted.Verifier = (*DB)(nil)
)

// newest is the timestamp at which every transaction of badger's is seen.
const newest = math.MaxUint64

// Traits implements sorted.Database. The limits leave room for badger's own
// count.
func (d *DB) Traits() sorted.Traits {
	return sorted.Traits{
		Name: "badger", Dir: d.dir, Log: d.log, ReadOnly: d.readOnly,
		MaxCommitBytes: int(d.badger.MaxBatchSize()) - 4096, MaxCommitEntries: int(d.badger.MaxBatchCount()) - 16,
	}
}

// Failed implements sorted.Database.
func (d *DB) Failed() error { return d.failed.Get() }

// Fail stops all writes for good, and has everything checked when the directory
// is opened again.
func (d *DB) Fail(err error) {
	if d.failed.Set(fmt.Errorf("the badger engine in %s takes no more writes until it is opened again: %w", d.dir, err)) {
		d.distrust(err)
	}
}

// Close implements sorted.Database. It waits for badger to write its memtable
// out.
func (d *DB) Close() error {
	if err := d.badger.Close(); err != nil {
		return fmt.Errorf("closing the badger engine in %s: %w", d.dir, err)
	}
	return nil
}

// Scan implements sorted.Database. What fn reads stays there until it returns,
// and keeps badger from deleting files.
func (d *DB) Scan(prefix []byte, fn func(sorted.Iterator) error) error {
	return d.scan(prefix, func(it iterator) error { return fn(it) })
}

func (d *DB) scan(prefix []byte, fn func(iterator) error) (err error) {
	defer d.panicIsDamage(&err)
	txn := d.badger.NewTransactionAt(newest, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	return fn(iterator{it})
}

type iterator struct{ *badger.Iterator }

// Key implements sorted.Iterator.
func (it iterator) Key() []byte { return it.Item().Key() }

// Value implements sorted.Iterator.
func (it iterator) Value(fn func([]byte) error) error { return it.Item().Value(fn) }

// Verify implements sorted.Verifier: it checks badger's checksum of each block
// of each table.
func (d *DB) Verify() (err error) {
	defer d.panicIsDamage(&err)
	if err := d.badger.VerifyChecksum(); err != nil {
		return &pinetree.CorruptError{Where: d.dir, What: err.Error()}
	}
	return nil
}

// panicIsDamage makes an error of badger's panic on a block whose structure is
// damaged, so that one bad block does not end a node and all its groups.
func (d *DB) panicIsDamage(err *error) {
	if p := recover(); p != nil {
		*err = &pinetree.CorruptError{Where: d.dir, What: fmt.Sprintf("badger cannot read a block: %v", p)}
	}
}
