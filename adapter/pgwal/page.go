package pgwal

import (
	"encoding/binary"
	"fmt"

	"github.com/pinetree-db/pinetree"
)

// A page header, little endian:
//
//	offset size
//	0      2    magic, one per PostgreSQL version
//	2      2    flags
//	4      4    timeline
//	8      8    page address: the LSN of the page's first byte
//	16     4    bytes of a record that go on here from the page before
//	20     4    zero
//
// and on a segment's first page further
//
//	24     8    system id of the database cluster
//	32     4    segment size
//	36     4    page size
const (
	pageBytes        = 8192
	shortHeaderBytes = 24
	longHeaderBytes  = 40

	flagContinues   = 0x1 // the page begins with the rest of a record
	flagLong        = 0x2 // the header is the long one
	flagBrokenOff   = 0x8 // the record before the page was broken off
	allFlags        = 0xF
	minSegmentBytes = 1 << 20
	maxSegmentBytes = 1 << 30
)

// versions are the PostgreSQL versions whose log is read, by their magic.
var versions = map[uint16]string{
	0xD106: "13", 0xD10D: "14", 0xD110: "15", 0xD113: "16", 0xD116: "17", 0xD118: "18",
}

// pageHeader is what a page says of itself.
type pageHeader struct {
	magic     uint16
	flags     uint16
	timeline  uint32
	address   pinetree.LSN
	remaining uint32
	// Of long headers only:
	system       uint64
	segmentBytes uint32
	pageBytes    uint32
}

func (h pageHeader) continues() bool { return h.flags&flagContinues != 0 }
func (h pageHeader) brokenOff() bool { return h.flags&flagBrokenOff != 0 }

// bytes is the length of the header.
func (h pageHeader) bytes() pinetree.LSN {
	if h.flags&flagLong != 0 {
		return longHeaderBytes
	}
	return shortHeaderBytes
}

// parseHeader reads a header without judging it. False when the page is too
// short to hold it.
func parseHeader(page []byte) (pageHeader, bool) {
	le := binary.LittleEndian
	if len(page) < shortHeaderBytes {
		return pageHeader{}, false
	}
	h := pageHeader{
		magic:     le.Uint16(page),
		flags:     le.Uint16(page[2:]),
		timeline:  le.Uint32(page[4:]),
		address:   pinetree.LSN(le.Uint64(page[8:])),
		remaining: le.Uint32(page[16:]),
	}
	if h.flags&flagLong == 0 {
		return h, true
	}
	if len(page) < longHeaderBytes {
		return h, false
	}
	h.system, h.segmentBytes, h.pageBytes = le.Uint64(page[24:]), le.Uint32(page[32:]), le.Uint32(page[36:])
	return h, true
}

// identity is what all pages of one log have in common.
type identity struct {
	magic        uint16
	system       uint64
	segmentBytes pinetree.LSN
}

// check judges the header of the page at pos and says what is wrong, or "".
func (id identity) check(page []byte, pos pinetree.LSN) (pageHeader, string) {
	h, ok := parseHeader(page)
	first := pos%id.segmentBytes == 0
	switch {
	case !ok:
		return h, "the file ends inside a page header"
	case h.address != pos:
		return h, fmt.Sprintf("the page at %s says that it is the one at %s", pos, h.address)
	case h.magic != id.magic:
		return h, fmt.Sprintf("the page at %s has magic %04X, not %04X", pos, h.magic, id.magic)
	case h.flags&^allFlags != 0 || (h.flags&flagLong != 0) != first:
		return h, fmt.Sprintf("the page at %s has impossible flags %#x", pos, h.flags)
	case h.continues() != (h.remaining != 0) || h.continues() && h.brokenOff():
		return h, fmt.Sprintf("the page at %s has flags %#x, but %d bytes of a record that goes on", pos, h.flags, h.remaining)
	case binary.LittleEndian.Uint32(page[20:]) != 0:
		return h, fmt.Sprintf("the header of the page at %s has bytes where it should have zeroes", pos)
	case h.timeline == 0:
		return h, fmt.Sprintf("the page at %s has timeline 0", pos)
	case first && (h.system != id.system || pinetree.LSN(h.segmentBytes) != id.segmentBytes || h.pageBytes != pageBytes):
		return h, fmt.Sprintf("the segment is one of system %d with segments of %d and pages of %d bytes; the log is one of system %d with %d and %d",
			h.system, h.segmentBytes, h.pageBytes, id.system, id.segmentBytes, pageBytes)
	}
	return h, ""
}

// unwritten tells whether the page at pos was not written yet: it is all
// zeroes, or it has an earlier address in the same place of a segment, because
// its file was recycled.
func (id identity) unwritten(page []byte, pos pinetree.LSN) bool {
	if allZero(page) {
		return true
	}
	h, ok := parseHeader(page)
	if !ok || h.address >= pos || (pos-h.address)%id.segmentBytes != 0 {
		return false
	}
	_, wrong := id.check(page, h.address)
	return wrong == ""
}

func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func align(n pinetree.LSN) pinetree.LSN { return (n + 7) &^ 7 }
