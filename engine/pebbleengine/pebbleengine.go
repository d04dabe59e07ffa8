// Package pebbleengine is an engine in pebble: replayed state in one database
// per node. What is stored under which key is package lsm's; what pebble must be
// told is the package database's.
//
// Pebble has one log, and what survives a crash is all that was committed up to
// some point of it. So a flush costs one sync of that log, where badger's costs
// two of several files. Values of a kilobyte and more are kept apart from the
// tables, and compactions do not write them again. Every block of every file
// carries a checksum that pebble checks when it reads it; a value's own is
// checked, too.
//
// After the first error of the disk, met by a call or by pebble's work in the
// background, the store takes no more writes until it is opened again. Reads go
// on.
package pebbleengine

import (
	"github.com/pinetree-db/pinetree/engine/lsm"
	"github.com/pinetree-db/pinetree/engine/pebbleengine/database"
)

// Options of a Store.
type Options = database.Options

// Open opens the store in a directory, or makes one. A directory that is open
// elsewhere, damaged or of another format is an error.
func Open(o Options) (*lsm.Store, error) {
	db, err := database.Open(o)
	if err != nil {
		return nil, err
	}
	return lsm.Open(db)
}
