// Package badgerengine is the default engine: replayed state in one badger
// database per node. What is stored under which key is package lsm's; what
// badger needs to lose nothing is the package database's.
//
// Of the blocks of badger's tables the checksums are not asked for: on a mismatch
// its iterators end as if there were nothing more, in compactions too, which
// then delete the damaged table. A value that is damaged must be seen and not be
// missing, and each carries a checksum of its own.
//
// Values of a kilobyte and more, which is most of the log, go to badger's value
// log: they are written once, where tables are written again for every level.
// Badger syncs that log with errors swallowed, and deletes its files before
// what it has rewritten is synced; the engine does both itself, see
// database.DB.Sync and Reclaim. The space of what was removed from the tables comes
// back by compactions; badger makes those only as new data comes, so the engine has
// them made, too.
//
// When a commit fails or badger reports an error of its own, the store takes
// no more writes until it is opened again. Reads go on.
package badgerengine

import (
	"github.com/pinetree-db/pinetree/engine/badgerengine/database"
	"github.com/pinetree-db/pinetree/engine/lsm"
)

// Options of a Store.
type Options = database.Options

// ErrNotWhole is why a store cannot be opened read-only.
var ErrNotWhole = database.ErrNotWhole

// Open opens the store in a directory, or makes one. A directory that is open
// elsewhere, damaged or of another format is an error.
func Open(o Options) (*lsm.Store, error) {
	db, err := database.Open(o)
	if err != nil {
		return nil, err
	}
	return lsm.Open(db)
}
