package database

import (
	"fmt"
	"reflect"
	"unsafe"

	"github.com/dgraph-io/badger/v4"
)

// valuesFirst runs fn, in which badger writes values of keys that are there: it
// then syncs the value log before it writes where in it they are. Otherwise a
// crash may leave the new place of a value and not the value, and the new place
// hides the old one, where the value still is. New keys need no such order: what a
// crash left of them is above the stored position, and is written again.
//
// Badger has that order as its option SyncWrites, for all writes and for as long
// as it is open. Its errors are only logged, which is enough to stop all writes
// here. commitMu must be held, and is released by badger's write channel to the
// goroutine that reads the option.
func (d *DB) valuesFirst(fn func() error) error {
	*d.syncValues = true
	defer func() { *d.syncValues = false }()
	return fn()
}

// valueLogSync finds the option of badger's value log. The file of the value log
// that is written to has a copy of its own, which only tells whether the file is
// synced when it is full, and it is then in any case.
func valueLogSync(db *badger.DB) (*bool, error) {
	field := reflect.ValueOf(db).Elem()
	for _, name := range []string{"vlog", "opt", "SyncWrites"} {
		if field.Kind() != reflect.Struct || !field.FieldByName(name).IsValid() {
			return nil, fmt.Errorf("this version of badger keeps the option SyncWrites of its value log elsewhere: %s is not there", name)
		}
		field = field.FieldByName(name)
	}
	if field.Kind() != reflect.Bool {
		return nil, fmt.Errorf("this version of badger keeps the option SyncWrites of its value log elsewhere: it is a %s", field.Kind())
	}
	return (*bool)(unsafe.Pointer(field.UnsafeAddr())), nil
}
