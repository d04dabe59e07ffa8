// Package lsm is an engine on top of a database of sorted keys and values, one
// per node, such as an LSM tree: replayed state in it. It knows how records,
// pages, keys and positions become keys and values; it knows no raft, no network
// and no file. The database below, a sorted.Database, knows commits, syncs and
// free space. An engine of its own is such a database and a call of Open.
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
//	d group generation 0 m volume c revision length key chunk   a change of metadata
//	d group generation 0 m volume i index     chunk    how a transaction with an id ended
//
// A generation is one state of a group. There is more than one while a restore
// writes the next, and until the dropper has deleted those of no more use.
//
// The version is in the key. A database that has versions of its own could carry
// the LSN there, but there is one horizon for the whole database, below which
// old versions go, and here are many volumes whose LSNs have nothing to do with
// each other: what is history for one lies in the future of the next.
//
// # Values
//
// A value is cut into chunks. Each begins with the CRC32C of its key and all
// that follows, and with the number of chunks. It is checked at every read,
// whatever the database checks by itself.
//
//	log      the batch
//	page     changes, see encodePage
//	key      1 and the value, or 2 for a deleted key
//	group    the generation's number in 4 bytes, storepb.Position
//	metadata storepb.MetaRecord
//
// A page's value holds all that one write does to the page, each change with
// its LSN, under the LSN of the first one, up to some size: a page that is
// changed often costs one key per write and not one per record, and a write may
// be many batches when the engine is behind. Of a key there is one value per
// record that changes it.
//
// About every 64th record's change of a page is kept as the whole image that
// it leads to, and more of those that change much, so a read replays a bounded
// number of patches and bytes. Which one is a function of the record alone. A
// chain that is long by chance is shortened in the background when it is read: a
// value is replaced by one that says the same and begins with an image.
//
// # What a crash does
//
// Apply commits what a Write makes, in one commit or several, without a sync
// and without the position, which it only remembers. Flush syncs, stores the
// position, and syncs again; the first sync is spared where commits become
// durable in order. So the stored position is never above what is surely there,
// and a crash takes the group back to it. What Apply left above may be there whole, in part, or not at all,
// in any order. It does no harm: a reader looks at nothing above the position's
// LSN of its volume, and recovery replays the same committed entries. Their
// batches, and what they make of keys, have the same names and values as before,
// and are written over by themselves. What they make of pages may be cut into
// other values than before, so the first write that touches a page removes what
// there is of it above the position. For the same reason a Write of several
// commits is atomic.
//
// A write can be prepared while the one before is applied: what it is stored as
// depends on the pages that it consolidates, which are then those of the database
// under what the write before does to them. It is applied only on the state that
// it was prepared for.
//
// Metadata is held in memory, too, and read from disk when the group is opened. It
// is bounded by the position in the same way: by the volume's revision, and by the
// raft index. What is compacted is needed by older positions, so it is removed in
// the commit that stores a position that knows of the compaction, or a later one.
// What a crash leaves of it is found when the group is opened.
//
// # Truncation
//
// Once the position with a higher truncated LSN is flushed, the dropper removes, a
// mebibyte of log at a time, first the versions that only reads below it would see,
// of the pages and keys that this log changed, and then the log. Of a page its newest
// image there stays, with what follows, and of a key its newest version, unless that
// is a deletion. The log that is left tells where to go on after a crash. A read looks
// at the truncated LSN before and after it has looked for its values: it sees all of
// them, or says that they are gone. While a snapshot is open nothing is removed.
//
// # Snapshots and restores
//
// What a group has replayed never changes, so a snapshot is the position and
// reads in pieces beside Apply: what lies above the position is left out. It
// holds no iterator between its pieces.
//
// A restore writes a new generation, of which it has left a note on disk that
// it is to be dropped. The last step is one commit: it takes the note away,
// points the group at the new generation with its position, and leaves a note
// for the old one. Whatever a crash leaves, each generation that has data is
// the one that is used or has a note, and is deleted after the next Open.
package lsm
