package database

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Options of a DB.
type Options struct {
	// Dir is the database's directory, made when it is not there. Only one
	// DB of one process can have it open.
	Dir string
	// Logger gets what badger has to say: errors as errors, warnings as
	// warnings, the rest at debug level. Nil is slog's default.
	Logger *slog.Logger
	// MemTableBytes is the size of badger's memtable, 32 MiB when zero. Three
	// of them and their indexes are the most memory that writes take. A
	// transaction takes 15 % of one. At least 8 MiB.
	MemTableBytes int64
	// ValueFileBytes is the size of the files of badger's value log, 64 MiB when zero;
	// at least 1 MiB.
	ValueFileBytes int64
	// MinFreeBytes is the free space below which writes are refused with
	// pinetree.ErrDiskFull; 20 memtables when zero. See checkSpace.
	MinFreeBytes int64
	// ReadOnly opens a database that is there to be looked into, and changes no file.
	// One that a crash has left, whose end Open would cut, is ErrNotWhole.
	ReadOnly bool
}

const (
	// valueThreshold is the size in bytes from which a value goes to the value
	// log.
	valueThreshold = 1 << 10

	defaultMemTableBytes  = 32 << 20
	defaultValueFileBytes = 64 << 20
	// MinMemTableBytes is the least that Options.MemTableBytes may be.
	MinMemTableBytes = 8 << 20
)

// badgerOptions are the settings, chosen for a machine of two cores that may
// carry three nodes.
func (o Options) badgerOptions(log badger.Logger) badger.Options {
	b := badger.DefaultOptions(o.Dir)
	b.Logger = log
	b.SyncWrites = false      // see syncer
	b.DetectConflicts = false // one writer per key
	b.MetricsEnabled = false
	b.MemTableSize = o.MemTableBytes
	b.NumMemtables = 2
	b.NumCompactors = 2 // the fewest that badger allows
	b.NumGoroutines = 2
	b.NumLevelZeroTables = 4
	b.NumLevelZeroTablesStall = 8
	b.BaseTableSize = 8 << 20
	b.BaseLevelSize = 32 << 20
	// Redo payloads compress poorly next to what it costs two cores, and
	// without compression blocks are read where they are mapped: no block
	// cache, no copy.
	b.Compression = options.None
	b.BlockCacheSize = 0
	// Table indexes stay in memory: about 1 % of the data.
	b.IndexCacheSize = 0
	// Every look-up is an iterator, which never asks the Bloom filters.
	b.BloomFalsePositive = 0
	b.ChecksumVerificationMode = options.NoVerification // the values carry their own
	// Log batches go to the value log, which writes them once and not again for
	// each level of the tables.
	b.ValueThreshold = valueThreshold
	b.ValueLogFileSize = o.ValueFileBytes
	b.VerifyValueChecksum = true // badger trusts the lengths of a value that it reads
	b.ReadOnly = o.ReadOnly
	return b
}

// ErrNotWhole is why a database cannot be opened read-only: its last writes are
// where only an ordinary Open, which changes files, makes them readable. A copy of it
// can be opened.
var ErrNotWhole = errors.New("a crash has left it, and what was written last cannot be read without changing its files")

// Open opens the database in a directory, or makes one. A directory that is open
// elsewhere or damaged is an error.
func Open(o Options) (*DB, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = defaultMemTableBytes
	}
	if o.ValueFileBytes == 0 {
		o.ValueFileBytes = defaultValueFileBytes
	}
	if o.ValueFileBytes < 1<<20 {
		return nil, fmt.Errorf("badger engine in %s: ValueFileBytes is %d, at least %d are needed", o.Dir, o.ValueFileBytes, 1<<20)
	}
	if o.MemTableBytes < MinMemTableBytes {
		return nil, fmt.Errorf("badger engine in %s: MemTableBytes is %d, at least %d are needed", o.Dir, o.MemTableBytes, MinMemTableBytes)
	}
	if o.MinFreeBytes == 0 {
		o.MinFreeBytes = reserveMemTables * o.MemTableBytes
	}
	if !o.ReadOnly {
		if err := dropEmptyFiles(o.Dir); err != nil {
			return nil, fmt.Errorf("badger engine in %s: %w", o.Dir, err)
		}
	}
	d := &DB{dir: o.Dir, readOnly: o.ReadOnly, minFreeBytes: o.MinFreeBytes, log: o.Logger.With("engine", o.Dir)}
	db, err := badger.OpenManaged(o.badgerOptions((*badgerLog)(d)))
	// Badger wraps its errors in text alone.
	if o.ReadOnly && err != nil && strings.Contains(err.Error(), badger.ErrTruncateNeeded.Error()) {
		err = ErrNotWhole
	}
	if err != nil {
		return nil, fmt.Errorf("badger engine in %s: %w", o.Dir, err)
	}
	d.badger, d.commitTs = db, db.MaxVersion()
	d.hidden, err = hiddenOf(db)
	if err == nil {
		d.opened, err = d.newestValueFile()
	}
	if err == nil {
		err = d.Failed()
	}
	if err != nil { // badger ignores a damaged table, which is data that is missing
		if closeErr := db.Close(); closeErr != nil {
			err = fmt.Errorf("%w (and closing it failed: %w)", err, closeErr)
		}
		return nil, err
	}
	return d, nil
}
