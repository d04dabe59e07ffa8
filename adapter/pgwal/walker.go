package pgwal

import (
	"fmt"
	"io"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// pieceBytes is what a record is cut into when it is longer: at its multiples
// in the log, so that every walk cuts alike. A piece and its framing are well
// below what one batch may hold.
const pieceBytes = storepb.MaxBatchBytes / 2

// Counts says what a Walker delivered.
type Counts struct {
	// Records are whole WAL records; the rest are parts of one.
	Records       int `json:"records"`
	HeadFragments int `json:"head_fragments"`
	TailFragments int `json:"tail_fragments"`
	BrokenOff     int `json:"broken_off"`
	// Delivered are the Pinetree records: all of the above, and one more for
	// each further piece of a long one.
	Delivered int `json:"delivered"`
	// Bytes of payload.
	Bytes int64 `json:"bytes"`
}

// Walker delivers the records of a log in order. It belongs to one goroutine.
type Walker struct {
	scanner scanner
	base    pinetree.LSN // nothing up to here is delivered
	at      pinetree.LSN // end of the last record delivered, or base
	current span         // the part of it after at is still to be delivered
	counts  Counts
	failed  error
}

// Base is the Prev of the first record that Next delivers or would deliver: the
// LSN given to Open, or where the first segment begins.
func (w *Walker) Base() pinetree.LSN { return w.base }

// Counts of what was delivered so far.
func (w *Walker) Counts() Counts { return w.counts }

// End is the LSN up to which the log was delivered.
func (w *Walker) End() pinetree.LSN { return w.at }

// Bytes is how much log lies between Base and the end of the last segment, the
// most that can be delivered.
func (w *Walker) Bytes() int64 {
	last := w.scanner.segments[len(w.scanner.segments)-1]
	end := last.start(w.scanner.id.segmentBytes) + w.scanner.id.segmentBytes
	return int64(max(end, w.base) - w.base)
}

// SystemID names the database cluster that wrote the log.
func (w *Walker) SystemID() uint64 { return w.scanner.id.system }

// SegmentBytes is the size of the log's segments.
func (w *Walker) SegmentBytes() int64 { return int64(w.scanner.id.segmentBytes) }

// Version is the PostgreSQL version that wrote the log, such as "15".
func (w *Walker) Version() string { return versions[w.scanner.id.magic] }

// Next returns the next record, io.EOF after the last one, or what is wrong: a
// *DamageError about the log, pinetree.ErrBadBatch when the LSN given to Open
// is none of this log, or an error of the file system. After an error it
// returns the same again. The payload may be kept and must not be changed.
func (w *Walker) Next() (pinetree.Record, error) {
	if w.failed != nil {
		return pinetree.Record{}, w.failed
	}
	record, err := w.next()
	if err != nil {
		w.failed = err
	}
	return record, err
}

// Close releases the files.
func (w *Walker) Close() error {
	w.failed = fmt.Errorf("WAL walker: %w", pinetree.ErrStopped)
	return w.scanner.close()
}

func (w *Walker) next() (pinetree.Record, error) {
	for w.at >= w.current.to {
		if err := w.nextSpan(); err != nil {
			return pinetree.Record{}, err
		}
	}
	to := w.current.to
	if to-w.current.from > pieceBytes {
		to = min(to, w.at-w.at%pieceBytes+pieceBytes)
	}
	payload, err := w.scanner.bytes(w.at, to)
	if err != nil {
		return pinetree.Record{}, err
	}
	record := pinetree.Record{Prev: w.at, LSN: to, Payload: payload}
	w.at = to
	w.count(record)
	return record, nil
}

// nextSpan goes on to the next span.
func (w *Walker) nextSpan() error {
	s := &w.scanner
	found, err := s.next()
	switch {
	case err == io.EOF && s.pos < w.base:
		return fmt.Errorf("%w: the log is to go on from %s, but the segments end at %s; add the later ones", pinetree.ErrBadBatch, w.base, s.pos)
	case err != nil:
		return err
	case found.from < w.at && w.at < found.to && !w.isCut(found):
		return fmt.Errorf("%w: the log is to go on from %s, but there is a record from %s to %s; these are not the segments that were shipped before", pinetree.ErrBadBatch, w.base, found.from, found.to)
	}
	w.current = found
	return nil
}

// isCut tells whether an earlier walk may have ended a record inside the span,
// where this one is to go on: at the end of its last segment, or of a piece.
func (w *Walker) isCut(s span) bool {
	return w.at%w.scanner.id.segmentBytes == 0 || s.to-s.from > pieceBytes && w.at%pieceBytes == 0
}

func (w *Walker) count(r pinetree.Record) {
	w.counts.Delivered++
	w.counts.Bytes += int64(len(r.Payload))
	if r.LSN != w.current.to {
		return
	}
	switch w.current.kind {
	case wholeRecord:
		w.counts.Records++
	case headFragment:
		w.counts.HeadFragments++
	case tailFragment:
		w.counts.TailFragments++
	case brokenOff:
		w.counts.BrokenOff++
	}
}
