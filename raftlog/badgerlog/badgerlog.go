// Package badgerlog keeps raft logs in badger, an LSM tree. It knows badger;
// what is stored under which key is keylog's.
//
// Badger syncs every transaction by itself, goes on after a failed sync, and
// is killed by a full disk. The store therefore takes no more writes after the
// first error, and refuses to write when the disk is nearly full.
package badgerlog

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"golang.org/x/sys/unix"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/keylog"
)

// Options of a store. Zero values are the defaults.
type Options struct {
	// MinFreeBytes is the free space below which nothing is written; 256 MiB by
	// default.
	MinFreeBytes uint64
	// Logger gets what badger reports as wrong. Nothing by default.
	Logger *slog.Logger
}

// Open opens the store in a directory, or makes an empty one there.
func Open(dir string, o Options) (raftlog.Store, error) {
	if o.MinFreeBytes == 0 {
		o.MinFreeBytes = 256 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := syncDirectory(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	b := badger.DefaultOptions(dir)
	b.Logger = logger{o.Logger}
	b.SyncWrites = true
	b.DetectConflicts = false // there is one writer
	b.MetricsEnabled = false
	b.NumMemtables = 2
	b.NumCompactors = 2 // the fewest that badger allows
	b.NumGoroutines = 2
	b.Compression = options.None
	b.BlockCacheSize = 0
	b.IndexCacheSize = 0
	b.BloomFalsePositive = 0 // reads are scans, which do not ask it
	// An fsync error of the value log is lost in badger, so nothing goes there.
	b.ValueThreshold = 1 << 20
	b.ValueLogFileSize = 1 << 20
	d := &database{dir: dir, minFree: o.MinFreeBytes}
	if d.db, err = badger.Open(b); err != nil {
		return nil, fmt.Errorf("open badger in %s: %w", dir, err)
	}
	s, err := keylog.Open(d)
	if err != nil {
		return nil, fmt.Errorf("raft log in %s: %w", dir, err)
	}
	return store{s, d}, nil
}

func syncDirectory(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// store is a keylog.Store of this package.
type store struct {
	*keylog.Store
	database *database
}

// Syncs counts the transactions, each of which badger syncs.
func (s store) Syncs() uint64 { return s.database.syncs.Load() }

// database is a keylog.Database.
type database struct {
	db      *badger.DB
	dir     string
	minFree uint64
	syncs   atomic.Uint64
}

// Apply commits the changes, as several transactions when badger takes them
// for too many, and always synced.
func (d *database) Apply(changes []keylog.Change, _ bool) error {
	if err := d.checkSpace(); err != nil {
		return err
	}
	t := &transaction{database: d, txn: d.db.NewTransaction(true)}
	defer func() { t.txn.Discard() }()
	for _, c := range changes {
		var err error
		if c.End != nil {
			err = t.deleteRange(c.Key, c.End)
		} else {
			err = t.set(&badger.Entry{Key: c.Key, Value: c.Value})
		}
		if err != nil {
			return err
		}
	}
	return t.commit()
}

func (d *database) checkSpace() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(d.dir, &fs); err != nil {
		return fmt.Errorf("free space of %s: %w", d.dir, err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < d.minFree {
		return fmt.Errorf("%w: %d bytes are free in %s, %d are needed for badger to write safely", pinetree.ErrDiskFull, free, d.dir, d.minFree)
	}
	return nil
}

// transaction is the one that changes go to.
type transaction struct {
	database *database
	txn      *badger.Txn
}

// change makes a change, in a new transaction when this one is full.
func (t *transaction) change(make func(*badger.Txn) error) error {
	err := make(t.txn)
	if !errors.Is(err, badger.ErrTxnTooBig) {
		return err
	}
	if err := t.commit(); err != nil {
		return err
	}
	t.txn = t.database.db.NewTransaction(true)
	return make(t.txn)
}

func (t *transaction) set(e *badger.Entry) error {
	return t.change(func(txn *badger.Txn) error { return txn.SetEntry(e) })
}

func (t *transaction) commit() error {
	t.database.syncs.Add(1)
	return t.txn.Commit()
}

// deleteRange deletes key by key.
func (t *transaction) deleteRange(from, to []byte) error {
	var keys [][]byte
	it := t.txn.NewIterator(badger.IteratorOptions{})
	for it.Seek(from); it.Valid() && string(it.Item().Key()) < string(to); it.Next() {
		keys = append(keys, it.Item().KeyCopy(nil))
	}
	it.Close()
	for _, key := range keys {
		if err := t.change(func(txn *badger.Txn) error { return txn.Delete(key) }); err != nil {
			return err
		}
	}
	return nil
}

// Scan reads what is there when it begins.
func (d *database) Scan(from, to []byte, fn func(key, value []byte) error) error {
	txn := d.db.NewTransaction(false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: false})
	defer it.Close()
	for it.Seek(from); it.Valid() && string(it.Item().Key()) < string(to); it.Next() {
		item := it.Item()
		if err := item.Value(func(value []byte) error { return fn(item.Key(), value) }); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the database.
func (d *database) Close() error { return d.db.Close() }

// logger passes on what badger says.
type logger struct{ log *slog.Logger }

func (l logger) Errorf(format string, args ...any) {
	l.log.Error(fmt.Sprintf("badger: "+format, args...))
}
func (l logger) Warningf(format string, args ...any) {
	l.log.Warn(fmt.Sprintf("badger: "+format, args...))
}
func (l logger) Infof(format string, args ...any) {
	l.log.Debug(fmt.Sprintf("badger: "+format, args...))
}
func (l logger) Debugf(format string, args ...any) {
	l.log.Debug(fmt.Sprintf("badger: "+format, args...))
}
