package pgwal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"testing"
	"testing/fstest"

	"github.com/pinetree-db/pinetree"
)

// These tests damage a log so that no checksum is wrong: only what else the log
// says bears witness.

// TestAHeaderIsCheckedThoughNothingFollows turns over every bit of the header of
// the only page of the last segment: when a record goes on there, and when one
// begins there.
func TestAHeaderIsCheckedThoughNothingFollows(t *testing.T) {
	for _, left := range []int{0, 16} {
		f := newForge(0xD110, 1<<20)
		f.base = 0x7F00000 // so that each bit of the address matters
		for f.pos()%f.id.segmentBytes != f.id.segmentBytes-pageBytes {
			f.fill(0)
		}
		f.fill(left)
		f.record(200, 1, 0)
		l := newWAL(t, f.files())
		page := l.base + l.size
		for i := pinetree.LSN(0); i < longHeaderBytes; i++ {
			for bit := range 8 {
				l.checkFlip(t, l.start(page), page+i, bit)
			}
		}
	}
}

// TestTheFirstPageIsComparedWithTheSecond: nothing before the first page says
// which timeline it should have, and it must not be delivered with a wrong one.
func TestTheFirstPageIsComparedWithTheSecond(t *testing.T) {
	f := newForge(0xD110, 1<<20)
	f.timeline = 7
	for range 100 {
		f.record(500, 1, 0)
	}
	l := newWAL(t, f.files())
	for bit := range 3 {
		back := l.flip(t, l.base+4, bit)
		l.wantDamage(t, l.source(), l.base, l.base+4)
		back()
	}
}

// TestARecordMustNameTheOneBeforeIt: a sound record of another place or time.
func TestARecordMustNameTheOneBeforeIt(t *testing.T) {
	first := newForge(0xD110, 1<<20)
	first.lastStart = first.base + longHeaderBytes
	first.record(100, 1, 0)
	if _, err := walk(t, FS(first.files()), 0, func(pinetree.Record) { t.Error("a record that follows on itself") }); !errors.Is(err, pinetree.ErrCorrupt) {
		t.Error(err)
	}
	f := newForge(0xD110, 1<<20)
	f.record(100, 1, 0)
	f.record(100, 1, 0)
	l := newWAL(t, f.files())
	wrong := f.pos()
	f.lastStart -= 8
	f.record(100, 1, 0)
	f.record(100, 1, 0)
	l.files, l.log = f.files(), f.log
	if got := l.wantDamage(t, l.source(), l.base, wrong); got.LSN != wrong {
		t.Errorf("want %s: %v", wrong, got)
	}
}

// TestANewTimelineNeedsARecordThatBeginsIt: pages of a later timeline, in a file
// that is named so, with no such record.
func TestANewTimelineNeedsARecordThatBeginsIt(t *testing.T) {
	l := read(t, small(t))
	last := l.names(t)[16]
	data := bytes.Clone(l.files[last].Data)
	for page := 5 * pageBytes; page < len(data); page += pageBytes {
		binary.LittleEndian.PutUint32(data[page+4:], 2)
	}
	delete(l.files, last)
	l.files["00000002"+last[8:]] = &fstest.MapFile{Data: data}
	start := l.base + 16*l.size
	l.wantDamage(t, l.source(), l.start(start), start+5*pageBytes+4)
}

// TestABreakAndTheRecordThatTellsOfItGoTogether: one without the other, or of
// another place.
func TestABreakAndTheRecordThatTellsOfItGoTogether(t *testing.T) {
	const flags = 2
	mark := func(f *forge, page pinetree.LSN) { f.log[page-f.base+flags] |= flagBrokenOff }
	for what, write := range map[string]func(f *forge) pinetree.LSN{
		"the first page is marked and has another record": func(f *forge) pinetree.LSN {
			f.record(100, 1, 0)
			mark(f, f.base)
			return f.base + flags
		},
		"a page without the mark has the record": func(f *forge) pinetree.LSN {
			f.record(100, 1, 0)
			at := f.pos()
			f.tell(at)
			return at
		},
		"a page after a whole record is marked": func(f *forge) pinetree.LSN {
			f.fill(0)
			at := f.pos()
			f.tell(f.lastStart)
			mark(f, at)
			return at + flags
		},
		"a marked page has no record": func(f *forge) pinetree.LSN {
			f.page(0)
			mark(f, f.base)
			return f.base + flags
		},
		"the record tells of another place": func(f *forge) pinetree.LSN {
			f.fill(64)
			before, at := f.lastStart, f.pos()
			f.record(100, 1, 0)
			f.log, f.lastStart = f.log[:at+64-f.base], before
			next := f.pos()
			f.tell(at - 8)
			mark(f, next)
			return at
		},
	} {
		f := newForge(0xD110, 1<<20)
		at := write(f)
		l := &wal{files: f.files(), log: f.log, base: f.base, size: f.id.segmentBytes}
		l.spans = []span{{wholeRecord, at, f.pos()}}
		if at > f.base+flags {
			l.wantDamage(t, l.source(), l.base, at)
			continue
		}
		if _, err := walk(t, l.source(), 0, func(r pinetree.Record) { t.Errorf("%s: record to %s", what, r.LSN) }); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// TestAnImpossibleLengthIsNoTailFragment: on the last page nothing contradicts
// a length but the limit.
func TestAnImpossibleLengthIsNoTailFragment(t *testing.T) {
	l := read(t, small(t))
	last := l.spans[len(l.spans)-2]
	binary.LittleEndian.PutUint32(l.files[l.names(t)[16]].Data[(last.from-l.base)%l.size:], 1<<30+8)
	l.wantDamage(t, l.source(), l.start(last.from), last.from)
}

// TestAPageOfAnotherPlaceIsNotUnwritten: what a recycled file kept is where it
// was; a page that moved within the file was put there.
func TestAPageOfAnotherPlaceIsNotUnwritten(t *testing.T) {
	l := read(t, history(t))
	data := l.files[l.names(t)[4]].Data
	copy(data[3*pageBytes:4*pageBytes], data[5*pageBytes:])
	l.wantDamage(t, l.source(), l.start(l.end()), l.end())
}

// TestAnAbandonedTimelineIsOffThePath: what the old timeline wrote after the new
// one had begun is not part of the log.
func TestAnAbandonedTimelineIsOffThePath(t *testing.T) {
	l := read(t, history(t))
	old := newForge(0xD110, 1<<20)
	old.base = 0xA00000
	for old.pos() < 0xB80000 {
		old.record(50_000, 1, 0)
	}
	maps.Copy(l.files, old.files())
	if _, ok := l.files["00000001000000000000000B"]; !ok {
		t.Fatal("the old timeline has no segment after the new one")
	}
	w, err := walk(t, l.source(), 0, func(pinetree.Record) {})
	if err != nil || w.End() != l.end() {
		t.Errorf("up to %s, %v; want %s", w.End(), err, l.end())
	}
}
