package database

// valuesFirst runs fn, in which badger writes values of keys that are there: it
// then syncs the value log before it writes where in it they are. Otherwise a
// crash may leave the new place of a value and not the value, and the new place
// hides the old one, where the value still is. New keys need no such order: what a
// crash left of them is above the stored position, and is written again.
//
// Badger has that order as its option SyncWrites, for all writes and for as long
// as it is open. Its errors are only logged, which is enough to stop all writes
// here. commitMu must be held.
func (d *DB) valuesFirst(fn func() error) error {
	*d.hidden.syncValues = true
	defer func() { *d.hidden.syncValues = false }()
	return fn()
}
