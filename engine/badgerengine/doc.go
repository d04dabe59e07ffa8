// Package badgerengine is the default engine: replayed state in one badger
// database per node. It knows how records, pages, keys and positions become
// badger's keys and values; it knows no raft and no network. The package
// database below it knows transactions, syncs and free space.
//
// # Keys
//
// Numbers are big endian. ^LSN is the bitwise complement, so that the newest
// version of something comes first.
//
//	f                                         chunk    format of the directory
//	g group                                   chunk    generation and position of a group
//	x group generation                        chunk    the generation is to be dropped
//	d group generation volume l LSN           chunk    a log batch, as it was shipped
//	d group generation volume p page ^LSN     chunk    changes of a page
//	d group generation volume k key 00 01 ^LSN chunk   a version of a key; 00 in the key is 00 FF
//
// A generation is one state of a group. There is more than one while a restore
// writes the next, and until the dropper has deleted those of no more use.
//
// The version is in the key, and badger's own versions only number its
// transactions. Badger's managed mode could carry the LSN as its version, but
// there is one discard timestamp for the whole database, below which old
// versions go, and here are many volumes whose LSNs have nothing to do with
// each other: what is history for one lies in the future of the next.
//
// # Values
//
// A value is cut into chunks. Each begins with the CRC32C of its key and all
// that follows, and with the number of chunks. Badger's own block checksums are
// not asked for: on a mismatch its iterators end as if there were nothing more,
// in compactions too, which then delete the damaged table. A value that is
// damaged must be seen and not be missing.
//
// Values of a kilobyte and more, which is most of the log, go to badger's value
// log: they are written once, where tables are written again for every level.
// Badger syncs that log with errors swallowed, and deletes its files before
// what it has rewritten is synced; the engine does both itself, see
// database.DB.Sync and RewriteOne. The space of dropped generations comes back by that rewriting.
//
//	log      the batch
//	page     changes, see encodePage
//	key      1 and the value, or 2 for a deleted key
//	group    the generation's number in 4 bytes, storepb.Position
//
// A page's value holds all that one batch does to the page, each change with
// its LSN, under the LSN of the first one: a page that is changed often costs
// one key per batch and not one per record. Of a key there is one value per
// record that changes it.
//
// About every 64th record's change of a page is kept as the whole image that
// it leads to, so a read replays a bounded number of patches. Which one is a
// function of page and LSN alone, and all of a value is one of its batch, so a
// write that is replayed after a crash makes the same bytes.
//
// # What a crash does
//
// Apply commits what a Write makes, in one transaction of badger's or several,
// without a sync and without the position, which it only remembers. Flush syncs
// all of badger's files, stores the position, and syncs again. So the stored
// position is never above what is surely there, and a crash takes the group
// back to it. What Apply left above may be there whole, in part, or not at all,
// in any order. It does no harm: a reader looks at nothing above the position's
// LSN of its volume, and recovery replays the same committed entries, whose
// batches make the same keys and values, and overwrites them by themselves. For
// the same reason a Write of several transactions is atomic.
//
// # Snapshots and restores
//
// What a group has replayed never changes, so a snapshot is the position and
// reads in pieces beside Apply: what lies above the position is left out. It
// holds no transaction or iterator of badger's between its pieces.
//
// A restore writes a new generation, of which it has left a note on disk that
// it is to be dropped. Commit is one transaction: it takes the note away,
// points the group at the new generation with its position, and leaves a note
// for the old one. Whatever a crash leaves, each generation that has data is
// the one that is used or has a note, and is deleted after the next Open.
//
// When a commit fails or badger reports an error of its own, the store takes
// no more writes until it is opened again. Reads go on.
package badgerengine
