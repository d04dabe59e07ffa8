// Package sorted is the contract of a database of sorted keys and values with
// atomic commits, as the engine in package lsm needs it below. It knows keys
// and values as bytes and nothing of groups, logs or pages.
package sorted

import "log/slog"

// Database is an open database. Everything may be called by any goroutine, but
// for Close, which comes last: nothing else is under way then or begins later.
type Database interface {
	// Traits are those that it was opened with.
	Traits() Traits
	// Commit makes a change in one step: after a crash all of it is there or
	// nothing, but see Change.Rewrite. It need not be durable before Sync. It is
	// pinetree.ErrDiskFull while the reserve of free space is touched; any other
	// error stops all writes for good.
	Commit(Change) error
	// DeleteRange deletes keys from start on and below end, as Commit does: all
	// of them, or some. More tells that it is to be called again.
	DeleteRange(start, end []byte) (more bool, err error)
	// Sync makes all that was committed before the call durable. An error stops
	// all writes for good.
	Sync() error
	// Scan calls fn with an iterator over the keys of a prefix, which stands
	// nowhere at first and is fn's only during the call. What fn sees is all of
	// one moment or, at least, all that was committed before the call. Its error
	// is passed on, unless the iterator met one before: what is damaged is a
	// *pinetree.CorruptError and never a key that is not there.
	Scan(prefix []byte, fn func(Iterator) error) error
	// Failed is the error after which nothing is written, or nil.
	Failed() error
	// Close ends the background work and releases the files.
	Close() error
}

// Iterator goes through the keys of a prefix in byte order.
type Iterator interface {
	// Seek goes to the first key that is not below the given one, nil being the
	// first of the prefix.
	Seek(key []byte)
	// Next goes to the next key. The iterator must be valid.
	Next()
	// Valid tells whether the iterator stands on a key.
	Valid() bool
	// Key is the caller's until the iterator moves.
	Key() []byte
	// Value calls fn with the value, which is fn's only during the call.
	Value(fn func([]byte) error) error
}

// Traits are what differs between databases.
type Traits struct {
	// Name is that of the kind, such as "badger".
	Name string
	// Dir is the directory.
	Dir string
	// Log takes what is to be told to the operator.
	Log *slog.Logger
	// MaxCommitBytes and MaxCommitEntries bound one Change: the sum of Entry.Size
	// and the number of entries.
	MaxCommitBytes, MaxCommitEntries int
	// InOrder tells that commits become durable in the order in which they
	// were made: one that survives a crash does so with all that came before it.
	InOrder bool
	// ReadOnly tells that every commit is an error.
	ReadOnly bool
}

// Entry is a key and its value, or the removal of a key.
type Entry struct {
	Key, Value []byte
	Remove     bool
}

// Size is what the entry takes in a commit in bytes, with some to spare.
func (e Entry) Size() int { return len(e.Key) + len(e.Value) + 32 }

// Change is what one Commit writes.
type Change struct {
	Entries []Entry
	// Freeing tells that it makes room on the disk, for which half of the
	// reserve of free space may be used.
	Freeing bool
	// Rewrite tells that it replaces values which must not be lost: after a crash
	// the old ones are there or the new ones. Without it a key may be left whose new
	// value is damaged.
	Rewrite bool
}

// Verifier is what a Database implements that may hold damage which reading
// every key does not meet.
type Verifier interface {
	// Verify reads everything there is; a *pinetree.CorruptError names the first
	// place that is damaged.
	Verify() error
	// RegainTrust calls check if an error was met before that may have cost
	// data, and forgets the error when everything passes.
	RegainTrust(check func() error) error
}

// Reclaimer is what a Database implements that gives space back only when it is
// told to, or only as new data comes.
type Reclaimer interface {
	// Reclaim gives back the space of what was deleted, as far as that is worth the
	// work, beside reads and writes. It is called now and then, by one goroutine at a
	// time, and with dropped set after many keys were deleted. Between its steps it
	// calls pause, whose error ends it.
	Reclaim(dropped bool, pause func() error) error
}

// ReadAheader is what a Database implements that keeps values in the order in which
// they were written, and reads them slowly one by one.
type ReadAheader interface {
	// ReadAhead has what was written with the value of the first key from start on,
	// of those with a prefix, brought into memory, and what was written for some time
	// after: it is read soon. It is called by one goroutine at a time. Nothing comes of
	// an error but slow reads.
	ReadAhead(start, prefix []byte)
}

// ReadAhead does so in a Database that implements it.
func ReadAhead(db Database, start, prefix []byte) {
	if ahead, ok := db.(ReadAheader); ok {
		ahead.ReadAhead(start, prefix)
	}
}

// Split cuts entries into runs that one Commit takes each, in order.
func (t Traits) Split(entries []Entry) (runs [][]Entry) {
	first, size := 0, 0
	for i, e := range entries {
		if i > first && (size+e.Size() > t.MaxCommitBytes || i-first >= t.MaxCommitEntries) {
			runs = append(runs, entries[first:i:i])
			first, size = i, 0
		}
		size += e.Size()
	}
	if first < len(entries) {
		runs = append(runs, entries[first:])
	}
	return runs
}
