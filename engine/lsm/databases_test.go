package lsm

import (
	"log/slog"
	"testing"

	"github.com/pinetree-db/pinetree/engine/badgerengine/database"
)

// openBadger opens a store in badger, which has a small memtable.
func openBadger(dir string) (*Store, error) {
	db, err := database.Open(database.Options{Dir: dir, MemTableBytes: database.MinMemTableBytes})
	if err != nil {
		return nil, err
	}
	return Open(db)
}

// openQuiet opens a store in badger as a node has it.
func openQuiet(b *testing.B) *Store {
	b.Helper()
	db, err := database.Open(database.Options{Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	s, err := Open(db)
	if err != nil {
		b.Fatal(err)
	}
	return s
}
