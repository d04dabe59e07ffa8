package pgwal

import (
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/pinetree-db/pinetree"
)

// Open begins a walk. From is the LSN up to which the log was shipped before,
// the end of any record that a Walker delivered, or zero to begin with the
// first segment. What of the files lies before it is checked, as far as the
// record before From needs it, and not delivered.
//
// Open reports what cannot be listed or read, and a *DamageError when it cannot
// be told what log this is or where in it to begin; Next reports the rest.
func Open(source Source, from pinetree.LSN) (*Walker, error) {
	segments, err := source.segments()
	if err != nil {
		return nil, err
	}
	id, sure, err := identify(segments)
	if err != nil {
		return nil, err
	}
	r := &reader{segments: segments, segmentBytes: id.segmentBytes}
	w := &Walker{scanner: scanner{reader: r, id: id}}
	err = w.seek(from)
	if err == nil {
		err = w.scanner.confirmFirstPage(sure)
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return w, nil
}

// seek sets the scanner on a segment's start at or before from: the segment
// that has the byte before from, or an earlier one from which a record goes on
// so far.
func (w *Walker) seek(from pinetree.LSN) error {
	s := &w.scanner
	first := s.segments[0].start(s.id.segmentBytes)
	if from == 0 {
		from = first
	}
	s.record = from
	if from < first {
		return s.damage(from, "the log is to go on from there, but the segment is missing; the first one is %s", s.segments[0].name)
	}
	i, found := s.find(max(from, first+1) - 1)
	if !found && i < len(s.segments) {
		// The segment before from is gone; the one that begins with it will do.
		if s.segments[i].start(s.id.segmentBytes) != from {
			return s.damage(from, "the log is to go on from there, but the segment is missing; the next one is %s", s.segments[i].name)
		}
	}
	i = min(i, len(s.segments)-1)
	for ; i > 0; i-- {
		goesOn, err := s.headMayReach(i, from)
		if err != nil {
			return err
		}
		start := s.segments[i].start(s.id.segmentBytes)
		if !goesOn || s.segments[i-1].start(s.id.segmentBytes)+s.id.segmentBytes != start {
			break
		}
	}
	s.begin = s.segments[i].start(s.id.segmentBytes)
	s.pos = s.begin
	w.base, w.at = from, from
	return nil
}

// headMayReach tells whether segment i begins with the rest of a record that
// may end after the position.
func (s *scanner) headMayReach(i int, pos pinetree.LSN) (bool, error) {
	start := s.segments[i].start(s.id.segmentBytes)
	page, err := s.reader.page(start)
	if err != nil && err != errOversize {
		return false, err
	}
	h, _ := parseHeader(page)
	length := pinetree.LSN(h.remaining)
	headers := (length/(pageBytes-shortHeaderBytes) + 2) * longHeaderBytes
	return h.continues() && start+length+headers > pos, nil
}

// identify finds what the pages of the log have in common: what most of the
// first three segments say that were written. The first alone is not believed,
// because a wrong bit in it would show only in the second; sure tells that it
// had a second.
func identify(segments []segment) (id identity, sure bool, err error) {
	votes := map[identity]int{}
	wrong := "no page has been written"
	for _, seg := range segments[:min(3, len(segments))] {
		page, err := firstPage(seg)
		if err != nil {
			return identity{}, false, err
		}
		if len(page) > 0 && allZero(page) {
			continue
		}
		vote, what := identityOf(page)
		if what != "" {
			wrong = what
		} else if votes[vote]++; votes[vote] > votes[id] {
			id = vote
		}
	}
	switch {
	case len(votes) == 0:
		return id, false, &DamageError{Segment: segments[0].name, What: wrong}
	case len(votes) > 1 && votes[id] == 1:
		return id, false, &DamageError{
			Segment: segments[0].name, LSN: segments[0].start(id.segmentBytes),
			What: "it and the segments after it do not agree on version, system id and segment size",
		}
	}
	return id, votes[id] > 1, nil
}

func identityOf(page []byte) (id identity, wrong string) {
	h, ok := parseHeader(page)
	size := h.segmentBytes
	switch {
	case !ok:
		return identity{}, "the file is shorter than a page header"
	case versions[h.magic] == "":
		return identity{}, fmt.Sprintf("it begins with %04X, which is not the magic of a WAL page of PostgreSQL 13 to 18", h.magic)
	case h.flags&flagLong == 0:
		return identity{}, fmt.Sprintf("its first page has flags %#x and no segment size", h.flags)
	case size < minSegmentBytes || size > maxSegmentBytes || bits.OnesCount32(size) != 1:
		return identity{}, fmt.Sprintf("it has segments of %d bytes, which is no power of two from 1 MiB to 1 GiB", size)
	case h.pageBytes != pageBytes:
		return identity{}, fmt.Sprintf("it has pages of %d bytes; only %d are supported", h.pageBytes, pageBytes)
	}
	return identity{magic: h.magic, system: h.system, segmentBytes: pinetree.LSN(size)}, ""
}

func firstPage(seg segment) (page []byte, err error) {
	file, at, err := openSegment(seg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	page = make([]byte, pageBytes)
	n, err := at.ReadAt(page, 0)
	if err == io.EOF {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("read WAL segment %s: %w", seg.name, err)
	}
	return page[:n], nil
}

// confirmFirstPage compares the first page with the second one in what every
// later page is compared with the one before it. If they differ, it cannot be
// told which of them is damaged, and nothing of either may be delivered.
func (s *scanner) confirmFirstPage(sure bool) error {
	s.record = s.begin
	first, err := s.reader.page(s.begin)
	if err != nil {
		return nil // Next meets it again and says where.
	}
	second, err := s.reader.page(s.begin + pageBytes)
	if err != nil {
		return err
	}
	a, _ := parseHeader(first)
	b, _ := parseHeader(second)
	if b.address != s.begin+pageBytes {
		return nil
	}
	if !sure && a.magic != b.magic && versions[b.magic] != "" {
		return s.damage(s.begin, "its first two pages have the magic %04X and %04X", a.magic, b.magic)
	}
	if a.timeline == b.timeline {
		return nil
	}
	for ahead := *s; ahead.pos <= s.begin+pageBytes; {
		if _, err := ahead.next(); err == io.EOF {
			break
		} else if err != nil {
			return relabel(err, s.begin)
		}
	}
	return nil
}
