package lsm

import (
	"log/slog"
	"testing"

	badger "github.com/pinetree-db/pinetree/engine/badgerengine/database"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
	pebble "github.com/pinetree-db/pinetree/engine/pebbleengine/database"
)

// kind is a database that the engine is tested on.
type kind struct {
	name string
	// small opens a database with a small memtable, usual one as a node has it.
	small, usual func(dir string) (sorted.Database, error)
	// files are the suffixes of the files that hold keys and values.
	files []string
	// disk is the size of a file system that a few hundred megabytes fill, as
	// mount takes it.
	disk string
}

var (
	onBadger = kind{
		"badger",
		func(dir string) (sorted.Database, error) {
			return asDatabase(badger.Open(badger.Options{Dir: dir, MemTableBytes: badger.MinMemTableBytes, Logger: slog.New(slog.DiscardHandler)}))
		},
		func(dir string) (sorted.Database, error) {
			return asDatabase(badger.Open(badger.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)}))
		},
		[]string{".sst", ".vlog"},
		"320m",
	}
	onPebble = kind{
		"pebble",
		func(dir string) (sorted.Database, error) {
			return asDatabase(pebble.Open(pebble.Options{Dir: dir, MemTableBytes: 4 << 20, Logger: slog.New(slog.DiscardHandler)}))
		},
		func(dir string) (sorted.Database, error) {
			return asDatabase(pebble.Open(pebble.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)}))
		},
		[]string{".sst", ".blob"},
		"128m",
	}
)

// asDatabase keeps a nil pointer from becoming a database.
func asDatabase[D sorted.Database](db D, err error) (sorted.Database, error) {
	if err != nil {
		return nil, err
	}
	return db, nil
}

// onEach runs a test on each kind of database.
func onEach(t *testing.T, test func(*testing.T, kind)) {
	for _, k := range []kind{onBadger, onPebble} {
		t.Run(k.name, func(t *testing.T) { test(t, k) })
	}
}

// onEachB runs a benchmark on each kind of database.
func onEachB(b *testing.B, bench func(*testing.B, kind)) {
	for _, k := range []kind{onBadger, onPebble} {
		b.Run(k.name, func(b *testing.B) { bench(b, k) })
	}
}

// tryOpen opens a store with a small memtable.
func (k kind) tryOpen(dir string) (*Store, error) {
	db, err := k.small(dir)
	if err != nil {
		return nil, err
	}
	return Open(db)
}

// open opens such a store and closes it at the end of the test.
func (k kind) open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := k.tryOpen(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// openUsual opens a store as a node has it, to be closed by the caller.
func (k kind) openUsual(b *testing.B) *Store {
	b.Helper()
	db, err := k.usual(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	s, err := Open(db)
	if err != nil {
		b.Fatal(err)
	}
	return s
}
