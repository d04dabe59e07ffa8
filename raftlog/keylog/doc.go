// Package keylog is a raft log store on any ordered key-value store that can
// apply several changes at once: what badgerlog and pebblelog have in common.
// It knows keys and values; it knows no database and no file.
//
// # Keys
//
// Numbers in keys are big endian, so that they sort as they count.
//
//	key                                     value
//	'f'                                     version of this layout, 1
//	'p'                                     a probe: means nothing
//	's' group (8 bytes)                     raft term, vote and commit of the hard
//	                                        state, index and raft term before the
//	                                        first entry, as uvarints
//	'e' group (8) index (8) piece (4)       a piece of the entry, up to 256 KiB:
//	                                        raft term (uvarint), type (one byte)
//	                                        and data
//
// The first four bytes of a value, but for those of 'f' and 'p', are the CRC32C
// of key and rest. Entries at and below the point before the first are garbage,
// which is deleted when the store is opened and as the log is compacted.
//
// # Crash
//
// An update is applied as: deletions, entries in rising order, state. A
// database that must split it leaves a first part of that after a crash, in
// which entries are there that no hard state speaks of; they were not
// acknowledged, and raft can bear them.
//
// What nobody waits for is kept in memory and applied together with the next
// synced update, or when 4 MiB have come together.
package keylog
