// Package segment is the default raft log store: one log, shared by all groups
// of a node, in files that are written from their beginning to their end and
// then used again. It knows frames, files and what a crash may leave of them;
// it knows raft's types but not raft, and reaches the disk only through FS.
//
// # Files
//
// A directory holds LOCK, segments named by their sequence number,
// 0000000000000001.raftlog and so on without a gap, and up to four spares,
// files of any contents whose names end in .raftlog.spare. A segment is made
// of a spare, or of a new file whose name ends in .new: it gets its header and
// a checkpoint of every group, is synced, renamed, and the directory synced,
// before anything else is written to it; the segment before it was synced
// before that. So only the newest segment can end in a torn write. A segment
// that is not needed any more becomes a spare: it is renamed, and the
// directory synced, before its bytes are overwritten. All numbers are little
// endian.
//
//	file header, 32 bytes
//	offset size
//	0      8    magic "PTRAFTLG"
//	8      4    version, 2
//	12     4    zero
//	16     8    sequence number, at least 1
//	24     4    offset at which the segment before it ended
//	28     4    CRC32C of bytes 0 to 28
//
// Frames follow without a gap, each a multiple of 32 bytes. What is after the
// last frame is whatever was in the file before: zeroes, or frames that are
// bound to other segments' numbers.
//
//	frame
//	offset size
//	0      4    CRC32C of: sequence number of the segment (8 bytes), offset of
//	            the frame in the file (8 bytes), bytes 4 to 32 of the frame
//	4      4    CRC32C of the head
//	8      4    bytes of head and data together
//	12     4    bytes of the head
//	16     8    group, or zero
//	24     4    synced: the file was surely durable up to this offset when the
//	            frame was written
//	28     3    zero
//	31     1    kind, a letter
//	32     …    head; data; up to a multiple of 32, what nobody reads
//
// The head's numbers are uvarints unless said otherwise. A table is: count;
// index of the first entry; for each entry its raft term, type (one byte),
// length and CRC32C (four bytes). The data of its entries follows in their
// order, so that each byte is summed up once, and large data is written from
// where it is.
//
//	kind  head
//	U     update: one byte of flags, then what they announce, in this order:
//	      1: restart index and raft term; 2: raft term, vote and commit of the
//	      hard state; 4: table. One frame, so that a crash leaves all of an
//	      update or nothing
//	S     checkpoint: one byte, 1 in the segment's last checkpoint frame, then
//	      for each of several groups: group, raft term, vote, commit, index and
//	      raft term before the first entry, last index
//	C     compaction: index and raft term of the last entry dropped
//	M     moved: table of entries that were copied from the oldest segment so
//	      that it can go. They are in the log already; only their place changes
//	R     removal of the group: empty
//	P     probe: empty
//	K     synced: empty. It is written when the store is closed
//	E     end: empty. It is written, and synced, behind the last frame once the
//	      next segment is durable, name and all; before the store is closed, and
//	      after a crash when it is opened again
//
// # Files that are used again
//
// Frames of what the file was before lie where the new ones will be, at
// offsets where new ones may begin. None can be taken for a new one: the
// checksum of a header covers the segment's number, segments have different
// numbers for ever, and a CRC32C differs for certain, not just probably, when
// all that differs are up to 32 neighbouring bits. The head is bound by the
// header, the data by the head.
//
// # Crash
//
// A write that was under way when the power went may have left any of its
// 512-byte sectors, the others being what they were or beyond the end of the
// file; a killed process may have left any first part of it. Either way the
// frames of the torn write were not acknowledged, and all that was synced
// before them is whole. Recovery reads the segments in order: up to where the
// next one's header says that it ended, and in the newest one up to the first
// frame that is not good. That frame is cut off unless it shows that it is
// damaged rather than torn:
//
//   - a good frame further on has a synced offset above it, or
//   - it is right but for one bit of its header, of its head, or of one entry
//     of up to 64 KiB.
//
// Everything else that is not as it was written is corruption: the store
// refuses to open, names file and offset, and leaves the files as they are.
// The one loss that cannot be told from a crash is that of more than a bit in
// the very last write before a kill or a power cut.
//
// Behind the cut, headers of frames of the torn write may be whole. They are
// made zeroes before anything is written, or a later frame might end where
// one of them begins.
//
// After a failed fsync the page cache may show what the disk does not have.
// Recovery therefore writes again all that no frame proves to be synced.
//
// The names of files can be lost as well. A gap between segments is refused;
// so is a newest segment with an end frame, whose successor was there; so are
// checkpoints whose entries are in no segment.
//
// # Space
//
// Every segment begins with the state of all groups, so that an older one is
// needed only for the entries in it. The oldest is let go of once a sync
// covers whatever made its last entry superfluous. When most of the space is
// dead and only entries of quiet groups hold the oldest segment, each Save
// moves some of them along.
//
// What need not be done before Save returns is done by a goroutine beside it:
// end frames, renaming and deleting, and filling a new spare with zeroes when
// three quarters of the newest segment are full and there is none. Overwriting what
// is in a file spares fdatasync the file's metadata, and the disk the zeroes.
package segment
