// Package database is a badger database as the engine needs it: transactions
// that several callers share, syncs that leave no hole, a reserve of free
// space, and an end of all writes at the first error. It knows keys and values
// as bytes and nothing of groups, logs or pages.
package database

import (
	"fmt"
	"log/slog"
	"math"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/pinetree-db/pinetree"
)

// DB is an open database. Everything may be called by any goroutine; what reads
// or writes comes between Enter and Leave.
type DB struct {
	badger       *badger.DB
	dir          string
	log          *slog.Logger
	minFreeBytes int64

	// open is held for reading by whoever uses badger, and for writing by Close:
	// badger unmaps its files, and a read of an unmapped file kills the
	// process.
	open   sync.RWMutex
	closed bool

	committer
	syncer syncer
	failed Failure
}

// newest is the timestamp at which every transaction of badger's is seen.
const newest = math.MaxUint64

// Enter begins a use of the database, which Leave ends; pinetree.ErrStopped
// after Close.
func (d *DB) Enter() error {
	d.open.RLock()
	if d.closed {
		d.open.RUnlock()
		return fmt.Errorf("%w: the badger engine in %s is closed", pinetree.ErrStopped, d.dir)
	}
	return nil
}

// Leave ends what Enter began.
func (d *DB) Leave() { d.open.RUnlock() }

// Dir is the database's directory.
func (d *DB) Dir() string { return d.dir }

// Log takes what is to be told to the operator.
func (d *DB) Log() *slog.Logger { return d.log }

// Failed is the error after which nothing is written, or nil.
func (d *DB) Failed() error { return d.failed.Get() }

// Fail stops all writes for good, and has everything checked when the directory
// is opened again.
func (d *DB) Fail(err error) {
	if d.failed.Set(fmt.Errorf("the badger engine in %s takes no more writes until it is opened again: %w", d.dir, err)) {
		d.distrust(err)
	}
}

// Close waits for the reads and writes that are under way and for badger to
// write its memtable out.
func (d *DB) Close() error {
	d.open.Lock()
	defer d.open.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	if err := d.badger.Close(); err != nil {
		return fmt.Errorf("closing the badger engine in %s: %w", d.dir, err)
	}
	return nil
}

// Scan calls fn with an iterator over the keys of a prefix. What fn reads stays
// there until it returns, and keeps badger from deleting files.
func (d *DB) Scan(prefix []byte, fn func(*badger.Iterator) error) (err error) {
	defer d.panicIsDamage(&err)
	txn := d.badger.NewTransactionAt(newest, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	return fn(it)
}

// VerifyTables checks badger's checksum of each block of each table: a
// *pinetree.CorruptError names the first that is damaged.
func (d *DB) VerifyTables() (err error) {
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
