// Package segment is the default raft log store: one log, shared by all groups
// of a node, in files that are only appended to. It knows frames, files and
// what a crash may leave of them; it knows raft's types but not raft, and
// reaches the disk only through FS.
//
// # Files
//
// A directory holds LOCK and segments named by their sequence number,
// 0000000000000001.raftlog and so on without a gap. A segment is made under
// its name followed by .new, filled with its header and a checkpoint of every
// group, synced, renamed, and the directory synced, before anything else is
// written to it; the segment before it was synced before that. So only the
// newest segment can end in a torn write. All numbers are little endian.
//
//	file header, 32 bytes
//	offset size
//	0      8    magic "PTRAFTLG"
//	8      4    version, 1
//	12     4    zero
//	16     8    sequence number, at least 1
//	24     4    zero
//	28     4    CRC32C of bytes 0 to 28
//
// Frames follow without a gap, each a multiple of 32 bytes. What is after the
// last frame is zero: files are zero-filled ahead of the frames, which spares
// fdatasync the file's metadata.
//
//	frame
//	offset size
//	0      4    CRC32C of: sequence number of the segment (8 bytes), offset of
//	            the frame in the file (8 bytes), bytes 4 to 32 of the frame
//	4      4    CRC32C of everything from byte 32 to the frame's end
//	8      4    length of the body
//	12     4    zero pieces: of the frame's pieces, cut at the file's multiples
//	            of 512 bytes, how many are all zero
//	16     8    group, or zero
//	24     4    synced: the file was surely durable up to this offset when the
//	            frame was written
//	28     3    zero
//	31     1    kind, a letter
//	32     …    body, zeroes up to one byte before a multiple of 32, byte 0xED
//
//	kind  body (numbers are uvarints unless said otherwise)
//	U     update: one byte of flags, then what they announce, in this order:
//	      1: restart index and raft term; 2: raft term, vote and commit of the
//	      hard state; 4: count and entries (storepb.AppendEntry). One frame, so
//	      that a crash leaves all of an update or nothing
//	S     checkpoint: one byte, 1 in the segment's last checkpoint frame, then
//	      for each of several groups: group, raft term, vote, commit, index and
//	      raft term before the first entry, last index
//	C     compaction: index and raft term of the last entry dropped
//	M     moved: count and entries, copied from the oldest segment so that it
//	      can go. They are in the log already; only their place changes
//	R     removal of the group: empty
//	P     probe: empty
//
// # Crash
//
// A write that was under way when the power went may have left any of its
// 512-byte sectors, the others being zero or beyond the end of the file; a
// killed process may have left any first part of it. Either way the frames of
// the torn write were not acknowledged, and all that was synced before them is
// whole. Recovery reads the segments in order and stops at the first frame of
// the newest one that is not good. It cuts there only if that frame cannot
// have been acknowledged, which needs both:
//
//   - no good frame further on has a synced offset above it, and
//   - the frame shows that a part never reached the disk: the file ends in it,
//     its last byte is zero, or it has more zero pieces than it was made with.
//
// Everything else is corruption: the store refuses to open, names file and
// offset, and leaves the files as they are. The one loss that cannot be told
// from a crash is that of whole sectors, or of the file's end, in the very
// last write.
//
// After a failed fsync the page cache may show what the disk does not have.
// Recovery therefore writes again all that no frame proves to be synced.
//
// # Space
//
// Every segment begins with the state of all groups, so that an older one is
// needed only for the entries in it. The oldest is deleted once a sync covers
// whatever made its last entry superfluous. When most of the space is dead and
// only entries of quiet groups hold the oldest segment, each Save moves some
// of them along.
package segment
