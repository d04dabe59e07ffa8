// Package pgwal reads PostgreSQL's write-ahead log from segment files, checks
// every byte that PostgreSQL gives a means to check, and cuts it into Pinetree
// records whose payloads, put one after the other, are the files again. It
// knows segments, pages and the outside of records; it knows nothing of what a
// record does, nor of networks, volumes and batches.
//
// # How the log is cut
//
// A position in PostgreSQL's log is a byte offset in one endless stream, and
// so is the LSN of a Pinetree record here. One WAL record becomes one Pinetree
// record: prev is the end of the record before it, LSN its own end, and the
// payload all bytes between, with the page headers and the padding. There are
// these other cases, which Counts tells apart:
//
//   - Head fragment: the files begin in the middle of a record. Its rest is the
//     first Pinetree record, from the segment's start.
//   - Tail fragment: the last segment is complete and its last record runs over
//     its end. The bytes up to the end are one Pinetree record, so that whole
//     files come back. When the next segment is there, a Walker that starts
//     from the fragment's end checks the record as a whole and delivers the
//     rest.
//   - Broken-off record: PostgreSQL crashed while it wrote a record, and went on
//     after it on the next page, which it marked. The bytes of the broken-off
//     record are one Pinetree record.
//   - Switch: a record that closes its segment early takes the zeroes up to the
//     segment's end into its payload.
//   - Pieces: a record longer than 4 MiB becomes several Pinetree records, cut
//     at the multiples of 4 MiB in the log, none delivered before the whole has
//     been checked.
//
// # Where the log ends, and what is damage
//
// PostgreSQL takes the first thing that is not a valid record for the end of
// the log. For files that somebody gave us to keep that is too kind: a flipped
// bit would drop all that comes after it. So the end is only where a record
// could begin and
//
//   - no file follows, or
//   - the length is zero, and all else in the segment is unwritten, and no later
//     segment has been written. Unwritten is a page of zeroes, or a page that
//     kept its content from the segment's earlier life: PostgreSQL recycles
//     files, and the page's address then is older by whole segments.
//
// Everything else is a *DamageError, and nothing at or after the record that it
// names is delivered: a wrong checksum, chain, length, padding or page header,
// a missing or short segment, written bytes after unwritten ones. One case is
// also what a crash or a copy of a running server's files looks like, a record
// that stops inside its segment; DamageError.Incomplete marks it.
//
// # What cannot be seen
//
// A fragment's record has its checksum, or part of its bytes, in a segment that
// is not there. Page headers and lengths in it are checked, but for the last
// bits of a head fragment's length; its other bytes cannot be. The same holds
// for one flag of a page header (0x4, which tells archivers that compress
// whether they may drop full-page images), on which nothing else in the log
// depends, and for the system id when there is only one segment.
//
// # Which files
//
// Names of 24 hexadecimal digits, and ".partial" after them for a segment that
// was not complete; such a file counts where there is no complete one. Of
// several timelines the latest counts, from its first segment on, which begins
// with a copy of its ancestor's bytes. That PostgreSQL began a timeline is
// checked in the log itself.
//
// # Versions
//
// PostgreSQL 13 to 18. Their pages differ in the magic number alone, their
// records in nothing that is looked at here.
package pgwal
