package database

import (
	"fmt"
	"reflect"
	"sync"
	"unsafe"

	"github.com/dgraph-io/badger/v4"
)

// hidden are fields that badger offers nobody. The settings among them it reads at
// every write. Its writer reads them after it has received a write
// from its channel: so they are changed under commitMu, and back before it is
// released.
type hidden struct {
	// syncValues has the value log synced before the keys of its values are
	// written. The file of the value log that is written to has a copy of its own,
	// which only tells whether the file is synced when it is full, and it is then in
	// any case.
	syncValues *bool
	// maxValues is how many values a file of the value log takes.
	maxValues *uint32
	// doomed are the files of the value log that badger deletes as soon as no iterator
	// is open, and filesLock guards them.
	doomed    *[]uint32
	filesLock *sync.RWMutex
}

func hiddenOf(db *badger.DB) (h hidden, err error) {
	if h.syncValues, err = field[bool](db, "vlog", "opt", "SyncWrites"); err == nil {
		h.maxValues, err = field[uint32](db, "vlog", "opt", "ValueLogMaxEntries")
	}
	if err == nil {
		h.doomed, err = field[[]uint32](db, "vlog", "filesToBeDeleted")
	}
	if err == nil {
		h.filesLock, err = field[sync.RWMutex](db, "vlog", "filesLock")
	}
	if err == nil && !db.Opts().ReadOnly { // which has no memtable
		_, err = memTableLimit(db)
	}
	return h, err
}

// memTableLimit is the size at which the memtable that is written to is full.
// The next one has a limit of its own. commitMu must be held.
func memTableLimit(db *badger.DB) (*int64, error) {
	return field[int64](db, "mt", "opt", "MemTableSize")
}

// field finds a field of badger's by the names that lead to it.
func field[T any](db *badger.DB, path ...string) (*T, error) {
	at := reflect.ValueOf(db)
	for _, name := range path {
		if at.Kind() == reflect.Pointer {
			at = at.Elem()
		}
		if at.Kind() != reflect.Struct || !at.FieldByName(name).IsValid() {
			return nil, fmt.Errorf("this version of badger keeps %v elsewhere: %s is not there", path, name)
		}
		at = at.FieldByName(name)
	}
	if want := reflect.TypeFor[T](); at.Type() != want {
		return nil, fmt.Errorf("this version of badger keeps %v as %s, not as %s", path, at.Type(), want)
	}
	return (*T)(unsafe.Pointer(at.UnsafeAddr())), nil
}
