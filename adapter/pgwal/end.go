package pgwal

import (
	"encoding/binary"
	"io"

	"github.com/pinetree-db/pinetree"
)

// endOfLog is called where a record could begin and none does: on a page, after
// its header, at a length of zero, or before a page that is not written or not
// there. It returns io.EOF if nothing was written from there on, and else what
// is wrong.
func (s *scanner) endOfLog(from pinetree.LSN) error {
	err := s.nothingFrom(from, func(h pageHeader, page []byte) bool {
		// The record that should begin here, under a wrong page address.
		prev := binary.LittleEndian.Uint64(page[h.bytes()+8:])
		return !h.continues() && s.lastStart != 0 && pinetree.LSN(prev) == s.lastStart
	})
	if err != nil {
		return err
	}
	return io.EOF
}

// nothingFrom checks that no part of the log was written from a position on. A
// page that was kept from the segment's earlier life is no part of it, unless
// it fits here: then its address is what is wrong with it.
func (s *scanner) nothingFrom(from pinetree.LSN, fits func(pageHeader, []byte) bool) error {
	if _, present := s.find(from); !present {
		return s.nothingInLaterSegments(from)
	}
	for pos := from - from%pageBytes; pos < s.segmentEnd(from); pos += pageBytes {
		page, err := s.reader.page(pos)
		switch {
		case err != nil:
			return err
		case len(page) < pageBytes:
			return s.truncated(pos)
		case pos < from && allZero(page[from-pos:]):
		case pos < from || !s.id.unwritten(page, pos):
			return s.damage(pos, "the log seems to end here, but the page at %s has been written", pos)
		case pos == from && !allZero(page):
			if h, _ := parseHeader(page); fits(h, page) {
				return s.damage(pos, "the page at %s says that it is the one at %s, but it goes on from the one before", pos, h.address)
			}
		}
	}
	return s.nothingInLaterSegments(from)
}

func (s *scanner) nothingInLaterSegments(from pinetree.LSN) error {
	here, present := s.find(from)
	later := here
	if present {
		later++
	}
	for _, seg := range s.segments[later:] {
		start := seg.start(s.id.segmentBytes)
		page, err := s.reader.page(start)
		switch {
		case err != nil && err != errOversize:
			return err
		case err == nil && len(page) == pageBytes && s.id.unwritten(page, start):
		case !present:
			return s.damage(from, "the segment is missing, but %s is there", seg.name)
		default:
			return s.damage(from, "the log seems to end here, but segment %s has been written", seg.name)
		}
	}
	return nil
}

// skipToSegmentEnd returns the end of the segment in which a switch record ends
// at the position, after checking that there are only zeroes up to it.
func (s *scanner) skipToSegmentEnd(end pinetree.LSN) (pinetree.LSN, error) {
	segmentEnd := s.segmentEnd(end - 1)
	for pos := end; pos < segmentEnd; pos = pos - pos%pageBytes + pageBytes {
		page, err := s.reader.page(pos - pos%pageBytes)
		switch {
		case err != nil:
			return 0, err
		case len(page) < pageBytes:
			return 0, s.truncated(pos)
		case !allZero(page[pos%pageBytes:]):
			return 0, s.damage(pos, "it closes its segment, but the page at %s has been written", pos-pos%pageBytes)
		}
	}
	return segmentEnd, nil
}
