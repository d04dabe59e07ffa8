package pgwal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/pinetree-db/pinetree"
)

// A record header, little endian:
//
//	offset size
//	0      4    length of the record, header included
//	4      4    transaction id
//	8      8    where the record before it began
//	16     1    kind within the resource manager, in the upper four bits
//	17     1    resource manager
//	18     2    zero
//	20     4    CRC32C of what follows the header and then of the 20 bytes before
//
// A record that changes no page and has little to say goes on with a byte 255
// and one byte of length.
const (
	recordHeaderBytes = 24
	crcOffset         = 20
	maxRecordBytes    = 1 << 30
	prefixBytes       = recordHeaderBytes + 2 + 16

	// Records of the resource manager 0 that say something of the log itself.
	kindShutdown      = 0x00
	kindSwitch        = 0x40
	kindEndOfRecovery = 0x90
	kindOverwrite     = 0xD0
	kindMask          = 0xF0
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// assembly takes in a record piece by piece.
type assembly struct {
	prefix [prefixBytes]byte // the first bytes of it
	size   uint32
	crc    uint32 // of what follows the header
}

func (a *assembly) add(b []byte) {
	if a == nil {
		return
	}
	if a.size < prefixBytes {
		copy(a.prefix[a.size:], b)
	}
	skip := min(len(b), max(0, recordHeaderBytes-int(a.size)))
	a.crc = crc32.Update(a.crc, castagnoli, b[skip:])
	a.size += uint32(len(b))
}

func (a *assembly) prev() pinetree.LSN {
	return pinetree.LSN(binary.LittleEndian.Uint64(a.prefix[8:]))
}

// sum is the record's CRC32C, want is what its header says.
func (a *assembly) sum() uint32  { return crc32.Update(a.crc, castagnoli, a.prefix[:crcOffset]) }
func (a *assembly) want() uint32 { return binary.LittleEndian.Uint32(a.prefix[crcOffset:]) }

// is tells whether the record is one of the log itself, of that kind.
func (a *assembly) is(kind byte) bool {
	return a.prefix[17] == 0 && a.prefix[16]&kindMask == kind
}

// said returns the first 16 bytes that a record of the log itself says.
func (a *assembly) said() []byte { return a.prefix[recordHeaderBytes+2:] }

// scanRecord checks the record that begins at start, on the current page, and
// returns its span, or one for the part that is there.
func (s *scanner) scanRecord(start pinetree.LSN) (span, error) {
	s.record = start
	opensPage := start == s.pageAt+s.header.bytes()
	flagged := opensPage && s.header.brokenOff()
	have := s.page[min(start-s.pageAt, pinetree.LSN(len(s.page))):]
	if len(have) < 4 {
		return span{}, s.truncated(start)
	}
	length := binary.LittleEndian.Uint32(have)
	switch {
	case length == 0 && flagged:
		return span{}, s.damage(start, "the page says that a record was broken off before it, but the record that tells so is not there")
	case length == 0:
		return span{}, s.endOfLog(start)
	case length < recordHeaderBytes || length > maxRecordBytes:
		return span{}, s.damage(start, "its length of %d bytes is impossible", length)
	}
	var a assembly
	end, how, err := s.follow(start, length, &a)
	if err != nil {
		return span{}, err
	}
	if err := s.checkPrev(&a); err != nil {
		return span{}, err
	}
	switch how {
	case atSegmentEnd:
		if err := s.checkTailLength(have); err != nil {
			return span{}, err
		}
		return s.advance(span{tailFragment, s.pos, end}), nil
	case atBreak:
		return s.breakOff(end)
	}
	if err := s.checkRecord(&a, flagged); err != nil {
		return span{}, err
	}
	if a.is(kindSwitch) {
		if end, err = s.skipToSegmentEnd(end); err != nil {
			return span{}, err
		}
	}
	s.lastStart = start
	return s.advance(span{wholeRecord, s.pos, end}), nil
}

// checkTailLength looks for a wrong bit in the length of a record that seems to
// run over the log's last page. Where it runs over another page its length was
// compared with what that page says; here nothing else would show it, and the
// records after it would pass for a part of it. Have is the page from the
// record on.
func (s *scanner) checkTailLength(have []byte) error {
	if len(have) < recordHeaderBytes {
		return nil
	}
	said := binary.LittleEndian.Uint32(have)
	for bit := range 32 {
		length := said ^ 1<<bit
		if length < recordHeaderBytes || length > uint32(len(have)) {
			continue
		}
		var a assembly
		a.add(have[:length])
		binary.LittleEndian.PutUint32(a.prefix[:], length)
		if a.sum() == a.want() {
			return s.damage(s.record, "its length is %d bytes, but its CRC32C is right for %d", said, length)
		}
	}
	return nil
}

func (s *scanner) advance(found span) span {
	s.pos, s.broken = found.to, found.kind == brokenOff
	return found
}

// checkPrev checks the chain, as soon as the header is there.
func (s *scanner) checkPrev(a *assembly) error {
	switch {
	case a.size < recordHeaderBytes:
		return nil
	case s.lastStart != 0 && a.prev() != s.lastStart:
		return s.damage(s.record, "it says that the record before it began at %s, but that was at %s", a.prev(), s.lastStart)
	case s.lastStart == 0 && a.prev() >= s.record:
		return s.damage(s.record, "it says that the record before it began at %s, which is after it", a.prev())
	}
	return nil
}

// checkRecord checks a whole record. Flagged tells that its page claims that a
// record was broken off before it.
func (s *scanner) checkRecord(a *assembly, flagged bool) error {
	if a.sum() != a.want() {
		return s.damage(s.record, "its CRC32C is %08x, should be %08x", a.sum(), a.want())
	}
	if flagged != a.is(kindOverwrite) {
		return s.damage(s.record, "the page's mark of a record broken off before it, and the record that tells so, do not go together")
	}
	return s.switchTimeline(a)
}

// switchTimeline follows the log to a new timeline, which a page header may
// have announced and a record must bear out. PostgreSQL begins one with a
// checkpoint or an end-of-recovery record, both of which name the new timeline
// and the one before; a record that tells of a broken-off one may come first.
func (s *scanner) switchTimeline(a *assembly) error {
	begins := a.is(kindShutdown) || a.is(kindEndOfRecovery)
	this, prev := binary.LittleEndian.Uint32(a.said()[8:]), binary.LittleEndian.Uint32(a.said()[12:])
	switch {
	case begins && this != prev && prev == s.timeline && (s.claimed == 0 || s.claimed == this):
		s.timeline, s.claimed = this, 0
	case s.claimed != 0 && !a.is(kindOverwrite):
		return s.damage(s.record, "its page has timeline %d, but no record began that timeline; the last one is %d", s.claimed, s.timeline)
	}
	return nil
}

// scanHead returns the rest of a record that began before the files. That it
// ends where its page says is borne out by a sound record after it, or by the
// log's end.
func (s *scanner) scanHead() (span, error) {
	end, how, err := s.follow(s.pos+s.header.bytes(), s.header.remaining, nil)
	if err != nil {
		return span{}, err
	}
	if s.claimed != 0 {
		s.timeline, s.claimed = s.claimed, 0
	}
	if how == atBreak {
		return s.breakOff(end)
	}
	ahead := *s
	ahead.pos = end
	var wrong *DamageError
	if _, err := ahead.next(); errors.As(err, &wrong) {
		unsure := s.damage(ahead.record, "the files begin with the rest of it, up to %s, where no sound record follows: %s", end, wrong.What)
		unsure.Incomplete = wrong.Incomplete
		return span{}, unsure
	} else if err != nil && err != io.EOF {
		return span{}, err
	}
	return s.advance(span{headFragment, s.pos, end}), nil
}

// breakOff returns the part of the record that was written before the page at
// end. The record there must tell that it was this one.
func (s *scanner) breakOff(end pinetree.LSN) (span, error) {
	ahead := *s
	ahead.pos, ahead.broken, ahead.page = end, true, nil
	if _, err := ahead.next(); err != nil {
		return span{}, relabel(err, s.record)
	}
	page, err := s.bytes(ahead.record, ahead.record+prefixBytes)
	if err != nil {
		return span{}, err
	}
	told := pinetree.LSN(binary.LittleEndian.Uint64(page[recordHeaderBytes+2:]))
	known := s.record != s.begin
	if known && told != s.record || told >= end {
		return span{}, s.damage(end, "it was broken off before %s, but the record there tells that of the one at %s", end, told)
	}
	return s.advance(span{brokenOff, s.pos, end}), nil
}

// relabel blames the record at lsn for what was found ahead of it.
func relabel(err error, lsn pinetree.LSN) error {
	var wrong *DamageError
	if !errors.As(err, &wrong) {
		return err
	}
	blamed := *wrong
	blamed.LSN = lsn
	return &blamed
}
