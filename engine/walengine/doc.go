// Package walengine is the engine of volumes whose payload is opaque: the log
// alone, in files that are only appended to, read back by range and dropped
// from the front. It knows frames, files and what a crash may leave of them; it
// replays no redo, and reaches the disk only through disk.FS.
//
// # Files
//
// One directory serves all groups of a node. Names are made of hexadecimal
// numbers of fixed width:
//
//	LOCK                          held while the directory is open
//	group.generation.group        a group: its position when it was made
//	group.generation.offset.wal   a part of its log, from that offset on
//
// A generation is one life of a group's state: creating the group begins one,
// and so does restoring a snapshot. It is there when its .group file is, which
// is written under a name that ends in .new, synced, renamed, and the directory
// synced. The highest one counts; files of any other are what a crash left of a
// removal or a restore, and are removed when the directory is opened. All
// numbers are little endian.
//
//	.group file
//	offset size
//	0      8    magic "PTWALGRP"
//	8      4    version, 1
//	12     4    generation
//	16     8    group
//	24     8    bound: the group whose id the frames carry
//	32     8    offset at which the generation's log begins
//	40     4    length of the position
//	44     4    CRC32C of everything else
//	48     …    storepb.Position
//
//	.wal file: a header of 64 bytes, then frames without a gap
//	offset size
//	0      8    magic "PTWALLOG"
//	8      4    version, 1
//	12     4    generation
//	16     8    group
//	24     8    bound: the group whose id the frames carry
//	32     8    offset of the first frame
//	40     20   zero
//	60     4    CRC32C of bytes 0 to 60
//
//	frame, a multiple of 32 bytes
//	offset size
//	0      4    CRC32C of: bound (8 bytes), offset of the frame (8 bytes),
//	            bytes 4 to 32 of the frame
//	4      4    CRC32C of the head
//	8      4    length of the head
//	12     4    length of the batches
//	16     4    number of batches
//	20     8    synced: the log was surely durable up to this offset when the
//	            frame was written
//	28     1    flags: 1, the position is the whole one; 2, it has the membership
//	29     2    zero
//	31     1    kind, a letter
//	32     …    head: storepb.Position
//	…      …    batches, as they were shipped, each with its own CRC32C
//	…      …    zeroes up to one byte before a multiple of 32, byte 0xED
//
// Offsets count the bytes of frames since the group was created, so a frame has
// the same offset, and the same bytes, wherever it was taken over in a snapshot,
// even by a group of another id, which then is bound to the id of the first.
//
//	kind
//	A     apply: one engine.Write. The position has the volumes that changed, and
//	      beside it are the records of metadata that are new
//	C     checkpoint: the whole position as of here, and all of the metadata, so
//	      that no file before it is needed for that. Each file begins with one
//	M     mark: nothing but its synced
//
// Records and position are one frame, and a frame that is not whole is none, so
// neither is ever there without the other.
//
// # Crash
//
// Apply does not sync, and what it appends is put together with what comes before it
// is written (disk.Gather): whoever applies has the records in a raft log, and keeps
// them there until Flush said that they are durable. Flush syncs the files and
// the directory and then writes a mark, so that whatever comes later can tell
// that it was. A write that was not synced may be there in any part of its
// 512-byte sectors, the others being zero or beyond the end of the file; a file
// that was made since the last Flush may be missing.
//
// Recovery walks the files from the last checkpoint that was synced on and stops at
// the first frame that is not good. The log ends there if that frame cannot
// have been durable, which needs both:
//
//   - no good frame, before it or behind it, has a synced offset above it, and
//   - it shows that a part never reached the disk: the file ends in it, its
//     last byte is zero, or a whole sector of it is.
//
// What follows is dropped, and the log goes on in a new file with that offset,
// so that nothing is ever written twice in one place; the torn bytes are left
// where they are, between the end that the next file's name gives and the end
// of their own file. Everything else is corruption: the group does not open,
// the error names file and offset, and the files are left as they are. What
// survived is written again and synced before it counts as durable, since after
// a failed sync the page cache may show what the disk does not have.
//
// # Space
//
// A file is removed once every batch in it is at or below the truncated LSN of
// its volume, in a position that is durable.
package walengine
