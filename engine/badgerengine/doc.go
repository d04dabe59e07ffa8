// Package badgerengine is the default engine: replayed state in one badger
// database per node. It knows how records, pages, keys and positions become
// badger's keys and values; it knows no raft, no network and no clock.
//
// # Keys
//
// Numbers are big endian. ^LSN is the bitwise complement, so that the newest
// version of something comes first.
//
//	f                                                   format of the directory
//	g group                              chunk          position of a group
//	x group                                             the group is being removed
//	d group volume l LSN                 chunk          a log batch, as it was shipped
//	d group volume p page ^LSN           chunk          changes of a page
//	d group volume k key 00 01 ^LSN      chunk          a version of a key; 00 in the key is 00 FF
//
// The version is in the key, and badger's own versions only number its
// transactions. Badger's managed mode could carry the LSN as its version, but
// there is one discard timestamp for the whole database, below which old
// versions go, and here are many volumes whose LSNs have nothing to do with
// each other: what is history for one lies in the future of the next.
//
// # Values
//
// A value is cut into chunks that stay below badger's value threshold, since
// badger swallows fsync errors of its value log and never shrinks it by
// itself. Each chunk begins with the CRC32C of its key and all that follows,
// and with the number of chunks. Badger's own block checksums are not asked
// for: on a mismatch its iterators end as if there were nothing more, in
// compactions too, which then delete the damaged table. A value that is
// damaged must be seen and not be missing.
//
//	log      the batch
//	page     changes, see encodePage
//	key      1 and the value, or 2 for a deleted key
//	position storepb.Position
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
// Badger runs with SyncWrites: a transaction that was committed is on disk,
// so what is applied is flushed. (Without it, db.Sync leaves holes: it syncs
// only the active memtable's log.) A Write that fits into one transaction is
// one, position included. A larger one is several, one after the other, each
// durable before the next begins, and the position comes with the last one.
// That is atomic too: a reader looks at nothing above the position's LSN of
// its volume, so versions and batches of the earlier transactions are not
// there before the last one is; and if a crash leaves them behind, recovery
// replays the same committed entries, whose batches make the same keys and
// values, and overwrites them by themselves.
//
// When a commit fails or badger reports an error of its own, the store takes
// no more writes until it is opened again. Reads go on.
package badgerengine
