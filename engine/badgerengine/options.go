package badgerengine

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/pinetree-db/pinetree"
)

// Options of a Store.
type Options struct {
	// Dir is the database's directory, made when it is not there. Only one
	// Store of one process can have it open.
	Dir string
	// Logger gets what badger has to say: errors as errors, warnings as
	// warnings, the rest at debug level. Nil is slog's default.
	Logger *slog.Logger
	// MemTableBytes is the size of badger's memtable, 32 MiB when zero. Three
	// of them and their indexes are the most memory that writes take. A
	// transaction takes 15 % of one. At least 8 MiB.
	MemTableBytes int64
	// MinFreeBytes is the free space below which writes are refused with
	// pinetree.ErrDiskFull; 20 memtables when zero. See checkSpace.
	MinFreeBytes int64
}

const (
	defaultMemTableBytes = 32 << 20
	minMemTableBytes     = 8 << 20
)

// badgerOptions are the settings, chosen for a machine of two cores that may
// carry three nodes.
func (o Options) badgerOptions(log badger.Logger) badger.Options {
	b := badger.DefaultOptions(o.Dir)
	b.Logger = log
	b.SyncWrites = true
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
	b.ChecksumVerificationMode = options.NoVerification // see doc.go: the values carry their own
	// The value log is never written to; its file is mapped in full.
	b.ValueThreshold = 1 << 20
	b.ValueLogFileSize = 1 << 20
	return b
}

// Open opens the store in a directory, or makes one, and goes on in the
// background to delete what a crash left of removals and restores. A directory that is open elsewhere, damaged or of
// another format is an error.
func Open(o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = defaultMemTableBytes
	}
	if o.MemTableBytes < minMemTableBytes {
		return nil, fmt.Errorf("badger engine in %s: MemTableBytes is %d, at least %d are needed", o.Dir, o.MemTableBytes, minMemTableBytes)
	}
	if o.MinFreeBytes == 0 {
		o.MinFreeBytes = reserveMemTables * o.MemTableBytes
	}
	if err := dropEmptyFiles(o.Dir); err != nil {
		return nil, fmt.Errorf("badger engine in %s: %w", o.Dir, err)
	}
	s := &Store{dir: o.Dir, groups: map[pinetree.GroupID]*group{}, restores: map[pinetree.GroupID]*restore{}, minFreeBytes: o.MinFreeBytes, log: o.Logger.With("engine", o.Dir)}
	db, err := badger.OpenManaged(o.badgerOptions((*badgerLog)(s)))
	if err != nil {
		return nil, fmt.Errorf("badger engine in %s: %w", o.Dir, err)
	}
	s.db = db
	s.commitTs = db.MaxVersion()
	err = s.prepare()
	if err == nil {
		err = s.regainTrust()
	}
	if err != nil {
		return nil, fmt.Errorf("badger engine in %s: %w", o.Dir, joinClose(err, db))
	}
	s.dropper.start(s)
	return s, nil
}

func joinClose(err error, db *badger.DB) error {
	if closeErr := db.Close(); closeErr != nil {
		return fmt.Errorf("%w (and closing it failed: %w)", err, closeErr)
	}
	return err
}

// badgerLog is the Store as badger's logger. Badger goes on after errors in
// its background work, such as a memtable that cannot be flushed or a table
// that is damaged, and only logs them; here each of them stops all writes.
type badgerLog Store

// Errorf implements badger.Logger.
func (l *badgerLog) Errorf(format string, args ...any) {
	err := fmt.Errorf("badger: %s", strings.TrimSpace(fmt.Sprintf(format, args...)))
	l.log.Error("badger reports an error", "error", err)
	(*Store)(l).fail(err)
}

// Warningf implements badger.Logger.
func (l *badgerLog) Warningf(format string, args ...any) {
	l.log.Warn("badger: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// Infof implements badger.Logger.
func (l *badgerLog) Infof(format string, args ...any) { l.Debugf(format, args...) }

// Debugf implements badger.Logger.
func (l *badgerLog) Debugf(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("badger: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

// failure holds the first error after which nothing is written.
type failure struct{ first atomic.Pointer[error] }

// set reports whether this is the first error.
func (f *failure) set(err error) bool { return f.first.CompareAndSwap(nil, &err) }

func (f *failure) clear() { f.first.Store(nil) }

func (f *failure) get() error {
	if err := f.first.Load(); err != nil {
		return *err
	}
	return nil
}

// newest is the timestamp at which every transaction of badger's is seen.
const newest = math.MaxUint64
