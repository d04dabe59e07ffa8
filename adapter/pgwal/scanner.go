package pgwal

import (
	"errors"
	"fmt"

	"github.com/pinetree-db/pinetree"
)

// scanner finds the spans of the log that belong together and checks them. It
// copies nothing and keeps nothing: a span is delivered after it was checked
// whole, by reading it again if need be. A copy of a scanner looks ahead.
//
// Invariants:
//
//	everything before pos is sound
//	page is the page at pageAt, and its header has been checked
type scanner struct {
	*reader
	id    identity
	begin pinetree.LSN // where the scan began, a segment's start
	pos   pinetree.LSN // end of the last span

	record    pinetree.LSN // where the record being looked at begins
	lastStart pinetree.LSN // where the last whole record began; zero before it
	broken    bool         // the last span was a record broken off

	timeline uint32 // of the last record; zero before the first page
	claimed  uint32 // a later timeline in a page header, not yet borne out

	page   []byte
	pageAt pinetree.LSN
	header pageHeader
}

// kind tells what a span is.
type kind uint8

const (
	wholeRecord kind = iota + 1
	headFragment
	tailFragment
	brokenOff
)

// span is a run of the log that was checked.
type span struct {
	kind     kind
	from, to pinetree.LSN
}

// pageState tells what is at a page's place.
type pageState uint8

const (
	written pageState = iota + 1
	unwritten
	absent
)

// damage makes the error about the record being looked at, which shows at pos.
func (s *scanner) damage(pos pinetree.LSN, format string, args ...any) *DamageError {
	return &DamageError{Segment: s.name(pos), LSN: s.record, What: fmt.Sprintf(format, args...)}
}

// truncated makes the error about a file that is too short for pos.
func (s *scanner) truncated(pos pinetree.LSN) *DamageError {
	return s.damage(pos, "the file is shorter than a segment of %d bytes", s.id.segmentBytes)
}

// load makes the page at pos the current one, if it is a written one.
func (s *scanner) load(pos pinetree.LSN) (pageState, error) {
	page, err := s.reader.page(pos)
	switch {
	case errors.Is(err, errAbsent):
		return absent, nil
	case errors.Is(err, errOversize):
		return 0, s.damage(pos, "the file is longer than a segment of %d bytes", s.id.segmentBytes)
	case err != nil:
		return 0, err
	case len(page) == 0:
		return 0, s.truncated(pos)
	}
	h, wrong := s.id.check(page, pos)
	switch {
	case wrong != "" && s.id.unwritten(page, pos):
		return unwritten, nil
	case wrong != "":
		return 0, s.damage(pos, "%s", wrong)
	}
	s.page, s.pageAt, s.header = page, pos, h
	return written, s.checkTimeline(pos)
}

// checkTimeline takes the timeline of the current page: the one before, or a
// later one that the record on it has to bear out.
func (s *scanner) checkTimeline(pos pinetree.LSN) error {
	switch got := s.header.timeline; {
	case got > s.reader.timeline(pos):
		return s.damage(pos, "the page at %s has timeline %d, later than its file", pos, got)
	case s.timeline == 0:
		s.timeline = got
	case got < max(s.timeline, s.claimed):
		return s.damage(pos, "the page at %s has timeline %d, the one before it %d", pos, got, max(s.timeline, s.claimed))
	case got > s.timeline:
		s.claimed = got
	}
	return nil
}

// next returns the next span, io.EOF at the end of the log, or what is wrong.
func (s *scanner) next() (span, error) {
	s.record = s.pos
	pageAt := s.pos - s.pos%pageBytes
	if pageAt != s.pos {
		if s.page == nil || s.pageAt != pageAt {
			// A look ahead, or a record before, has been on this page.
			if _, err := s.load(pageAt); err != nil {
				return span{}, err
			}
		}
		return s.scanRecord(s.pos)
	}
	state, err := s.load(s.pos)
	switch {
	case err != nil:
		return span{}, err
	case state != written:
		return span{}, s.endOfLog(s.pos)
	case s.header.continues() && s.pos == s.begin:
		return s.scanHead()
	case s.header.continues():
		return span{}, s.damage(s.pos, "the page at %s begins with the rest of a record, but the one before it was complete", s.pos)
	case s.header.brokenOff() && s.pos != s.begin && !s.broken:
		return span{}, s.damage(s.pos, "the page at %s says that a record was broken off before it, but it was complete", s.pos)
	}
	return s.scanRecord(s.pos + s.header.bytes())
}

// stop tells how far follow came.
type stop uint8

const (
	atRecordEnd stop = iota + 1
	atSegmentEnd
	atBreak
)

// follow reads length bytes of a record from start, which is on the current
// page, over as many pages as it takes. It returns the end of the record with
// its padding, or that of the segment after which there is no more, or the page
// before which the record was broken off.
func (s *scanner) follow(start pinetree.LSN, length uint32, into *assembly) (pinetree.LSN, stop, error) {
	remaining := pinetree.LSN(length)
	for pos := start; ; pos = s.pageAt + s.header.bytes() {
		have := s.page[min(pos-s.pageAt, pinetree.LSN(len(s.page))):]
		n := min(remaining, s.pageAt+pageBytes-pos)
		// Padding never runs over a page's end, which is a multiple of it.
		padded := n
		if n == remaining {
			padded = align(n)
		}
		if pinetree.LSN(len(have)) < padded {
			return 0, 0, s.truncated(pos)
		}
		into.add(have[:n])
		if remaining -= n; remaining == 0 {
			if !allZero(have[n:padded]) {
				return 0, 0, s.damage(pos, "the padding at %s is not zero", pos+n)
			}
			return pos + padded, atRecordEnd, nil
		}
		how, err := s.turnPage(uint32(remaining))
		if err != nil || how != 0 {
			return s.pageAt + pageBytes, how, err
		}
	}
}

// turnPage goes on to the next page, on which a record has so many bytes still
// to come. When it cannot, it stays, and says why.
func (s *scanner) turnPage(remaining uint32) (stop, error) {
	here := *s
	pos := s.pageAt + pageBytes
	state, err := s.load(pos)
	if err != nil {
		return 0, err
	}
	switch {
	case state != written && pos%s.id.segmentBytes == 0:
		return atSegmentEnd, s.nothingFrom(pos, func(h pageHeader, _ []byte) bool {
			return h.continues() && h.remaining == remaining
		})
	case state != written:
		err := s.damage(pos, "%d bytes of it are missing: nothing is written from %s on; PostgreSQL crashed here, or the file was copied while it wrote, or it is damaged", remaining, pos)
		err.Incomplete = true
		return 0, err
	case s.header.brokenOff():
		*s = here
		return atBreak, nil
	case !s.header.continues():
		return 0, s.damage(pos, "%d bytes of it are missing: the page at %s begins with another record", remaining, pos)
	case s.header.remaining != remaining:
		return 0, s.damage(pos, "%d bytes of it are missing, but the page at %s says %d", remaining, pos, s.header.remaining)
	}
	return 0, nil
}
