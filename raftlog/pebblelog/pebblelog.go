// Package pebblelog keeps raft logs in pebble, an LSM tree with a write-ahead
// log and group commit. It knows pebble; what is stored under which key is
// keylog's.
package pebblelog

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/keylog"
)

// Options of a store. Zero values are the defaults.
type Options struct {
	// FS is the file system; the operating system's by default.
	FS vfs.FS
	// CacheBytes bounds the blocks of tables that are kept in memory; 32 MiB by
	// default.
	CacheBytes int64
	// Logger gets what pebble reports as wrong. Nothing by default.
	Logger *slog.Logger
}

// memTableBytes is what pebble collects before it writes a table: most entries
// are compacted away before that.
const memTableBytes = 64 << 20

// Open opens the store in a directory, or makes an empty one there.
func Open(dir string, o Options) (raftlog.Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 32 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &database{}
	cache := pebble.NewCache(o.CacheBytes)
	defer cache.Unref()
	options := &pebble.Options{
		FS: o.FS, Cache: cache, Logger: logger{o.Logger}, MemTableSize: memTableBytes, MemTableStopWritesThreshold: 4,
		FormatMajorVersion: pebble.FormatNewest, L0CompactionThreshold: 4, L0StopWritesThreshold: 24,
	}
	options.EventListener = &pebble.EventListener{
		BackgroundError: func(err error) { o.Logger.Warn("pebble: background work failed", "error", err) },
	}
	for i := range options.Levels {
		// Redo compresses poorly next to what it costs.
		options.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	err := caught(func() (err error) {
		d.db, err = pebble.Open(dir, options)
		return err
	})
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("open pebble in %s: %w; give the directory to the user that runs the node", dir, err)
		}
		return nil, fmt.Errorf("open pebble in %s: %w", dir, err)
	}
	s, err := keylog.Open(d)
	if err != nil {
		return nil, fmt.Errorf("raft log in %s: %w", dir, err)
	}
	return store{s, d}, nil
}

// store is a keylog.Store that counts what it writes.
type store struct {
	*keylog.Store
	database *database
}

// Written is what pebble counts of its log and its tables, and the syncs that
// callers waited for.
func (s store) Written() raftlog.Written {
	m := s.database.db.Metrics()
	total := m.Total()
	return raftlog.Written{Bytes: m.WAL.BytesWritten + total.TableBytesFlushed + total.TableBytesCompacted, Syncs: s.database.syncs.Load()}
}

// database is a keylog.Database.
type database struct {
	db    *pebble.DB
	syncs atomic.Uint64
}

// Apply commits the changes as one batch.
func (d *database) Apply(changes []keylog.Change, sync bool) error {
	return caught(func() error {
		b := d.db.NewBatch()
		defer b.Close()
		for _, c := range changes {
			var err error
			if c.End != nil {
				err = b.DeleteRange(c.Key, c.End, nil)
			} else {
				err = b.Set(c.Key, c.Value, nil)
			}
			if err != nil {
				return err
			}
		}
		if !sync {
			return b.Commit(pebble.NoSync)
		}
		d.syncs.Add(1)
		return b.Commit(pebble.Sync)
	})
}

// Scan reads what is there when it begins.
func (d *database) Scan(from, to []byte, fn func(key, value []byte) error) error {
	return caught(func() error {
		it, err := d.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
		if err != nil {
			return err
		}
		for it.First(); it.Valid(); it.Next() {
			value, err := it.ValueAndErr()
			if err == nil {
				err = fn(it.Key(), value)
			}
			if err != nil {
				return errors.Join(err, it.Close())
			}
		}
		return errors.Join(it.Error(), it.Close())
	})
}

// Close closes the database.
func (d *database) Close() error { return caught(d.db.Close) }

// logger passes on what pebble says. Pebble ends the process after an error of
// its log; here it is the caller's call that ends, and the store with it.
type logger struct{ log *slog.Logger }

func (l logger) Infof(format string, args ...any) {
	l.log.Debug(fmt.Sprintf("pebble: "+format, args...))
}
func (l logger) Errorf(format string, args ...any) {
	l.log.Error(fmt.Sprintf("pebble: "+format, args...))
}
func (l logger) Fatalf(format string, args ...any) { panic(fatal{fmt.Errorf(format, args...)}) }

type fatal struct{ err error }

// caught makes an error of what pebble found fatal.
func caught(fn func() error) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case fatal:
			err = r.err
		case error:
			err = fmt.Errorf("pebble: %w", r)
		default:
			err = fmt.Errorf("pebble: %v", r)
		}
	}()
	return fn()
}
