package database

import (
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options of a DB. Zero values are the defaults.
type Options struct {
	// Dir is the database's directory, made when it is not there. Only one DB
	// can have it open.
	Dir string
	// Logger gets what pebble has to say. Nil is slog's default.
	Logger *slog.Logger
	// MemTableBytes is what pebble collects before it writes a table, 32 MiB by
	// default. Three of them are the most memory that writes take.
	MemTableBytes int64
	// CacheBytes bounds the blocks of tables that are kept in memory, 64 MiB by
	// default.
	CacheBytes int64
	// MinFreeBytes is the free space below which writes are refused with
	// pinetree.ErrDiskFull; 8 memtables by default. See checkSpace.
	MinFreeBytes int64
	// ReadOnly opens a database that is there to be looked into, and changes no file.
	ReadOnly bool
	// FS is the file system, the operating system's by default.
	FS vfs.FS
}

const (
	defaultMemTableBytes = 32 << 20
	defaultCacheBytes    = 64 << 20

	// separatedBytes is the size in bytes from which a value, which is most of
	// the log, goes to a file that compactions do not write again.
	separatedBytes = 1 << 10

	// format is pebble's own version of its files. A directory of an older one
	// is brought up to it by Open, and then opens in no older build.
	format = pebble.FormatValueSeparation
)

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = defaultMemTableBytes
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.MinFreeBytes == 0 {
		o.MinFreeBytes = reserveMemTables * o.MemTableBytes
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	return o
}

// pebbleOptions are the settings, chosen for a machine of two cores that may
// carry three nodes.
func (d *DB) pebbleOptions(cache *pebble.Cache) *pebble.Options {
	log := pebbleLog{d.log()}
	p := &pebble.Options{
		FS: d.options.FS, ReadOnly: d.options.ReadOnly, Cache: cache, Logger: log, FormatMajorVersion: format,
		MemTableSize: uint64(d.options.MemTableBytes), MemTableStopWritesThreshold: 3,
		L0CompactionThreshold: 4, L0StopWritesThreshold: 24, LBaseMaxBytes: 64 << 20,
		CompactionConcurrencyRange: func() (lower, upper int) { return 1, 1 },
	}
	p.EventListener = &pebble.EventListener{
		// Pebble tries again for ever. Here nobody tries again on a disk that
		// has failed.
		BackgroundError: func(err error) {
			log.Errorf("background work failed: %s", err)
			d.fail(err)
		},
		// The read or the compaction that met it has its error, too.
		DataCorruption: func(info pebble.DataCorruptionInfo) { log.Errorf("%s", info) },
	}
	p.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{
			Enabled: true, MinimumSize: separatedBytes, MaxBlobReferenceDepth: 10, TargetGarbageRatio: 0.3,
		}
	}
	for i := range p.Levels {
		// Redo compresses poorly next to what it costs two cores.
		p.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	return p
}

// Open opens the database in a directory, or makes one. A directory that is open
// elsewhere or damaged is an error.
func Open(o Options) (*DB, error) {
	d := &DB{options: o.withDefaults()}
	d.options.Logger = d.options.Logger.With("engine", o.Dir)
	cache := pebble.NewCache(d.options.CacheBytes)
	defer cache.Unref()
	err := caught(func() (err error) {
		d.pebble, err = pebble.Open(o.Dir, d.pebbleOptions(cache))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pebble engine in %s: %w", o.Dir, d.damage(err))
	}
	return d, nil
}
