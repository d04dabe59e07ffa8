package pgwal

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
)

// TestEveryVersionAndSegmentSizeIsRead walks a log of each version, across a
// segment's end and across the 4 GiB mark, where file names carry over.
func TestEveryVersionAndSegmentSizeIsRead(t *testing.T) {
	for magic, version := range versions {
		for _, size := range []pinetree.LSN{1 << 20, 4 << 20, 16 << 20} {
			f := newForge(magic, size)
			f.base = 1<<32 - size
			f.record(100, 1, 0)
			f.switchSegment()
			for range 3 {
				f.record(100_000, 1, 0)
			}
			if w := walkForged(t, f); w.Version() != version || w.SegmentBytes() != int64(size) {
				t.Errorf("version %s, %d bytes; want %s, %d", w.Version(), w.SegmentBytes(), version, size)
			}
		}
	}
}

// TestRecordsThatEndWherePagesEnd leaves just so many bytes on a page before
// the next record: none, and too few for its header.
func TestRecordsThatEndWherePagesEnd(t *testing.T) {
	for left := 0; left <= 32; left += 8 {
		f := newForge(0xD110, 1<<20)
		for range 200 {
			f.fill(left)
			f.record(40, 1, 0)
			f.fill(left)
			f.record(25, 1, 0)
		}
		walkForged(t, f)
	}
}

// TestASegmentThatIsFilledToItsEndIsFollowed: the log may end at the end of a
// segment, of a page, or of a page's header; and a switch may have nothing to
// skip.
func TestASegmentThatIsFilledToItsEndIsFollowed(t *testing.T) {
	for _, left := range []int{0, recordHeaderBytes} {
		f := newForge(0xD110, 1<<20)
		for f.pos()%f.id.segmentBytes != f.id.segmentBytes-pageBytes {
			f.fill(0)
		}
		f.fill(left)
		if left > 0 {
			f.switchSegment()
		}
		if f.pos() != f.base+f.id.segmentBytes {
			t.Fatalf("at %s", f.pos())
		}
		walkForged(t, f)
		f.record(24, 1, 0)
		walkForged(t, f)
		f.fill(0)
		walkForged(t, f)
		f.page(0)
		f.log = f.log[:len(f.log)-shortHeaderBytes]
		files := f.files()
		withHeader := newForge(0xD110, 1<<20)
		withHeader.base = f.pos()
		withHeader.page(0)
		for name, file := range files {
			if name > "000000010000000000000001" {
				copy(file.Data[f.pos()%f.id.segmentBytes:], withHeader.log)
			}
		}
		w, err := walk(t, FS(files), 0, func(pinetree.Record) {})
		if err != nil || w.End() != f.pos() {
			t.Errorf("a page with nothing but a header after the end: %s, %v; want %s", w.End(), err, f.pos())
		}
	}
}

// TestAHugeRecordComesInPiecesOrNotAtAll: a record longer than a batch may be
// is cut, a walk goes on after any piece, and no piece is delivered when the
// record's end is damaged.
func TestAHugeRecordComesInPiecesOrNotAtAll(t *testing.T) {
	for _, size := range []pinetree.LSN{1 << 20, 16 << 20} {
		f := newForge(0xD116, size)
		f.record(1000, 1, 0)
		f.record(21<<20, 1, 0)
		f.record(1000, 1, 0)
		walkForged(t, f)
		l := newWAL(t, f.files())
		var ends []pinetree.LSN
		w, err := walk(t, l.source(), 0, func(r pinetree.Record) { ends = append(ends, r.LSN) })
		if err != nil || w.Counts().Delivered != len(ends) || len(ends) != 3+5 {
			t.Fatalf("%d records: %+v, %v", len(ends), w.Counts(), err)
		}
		for i, end := range ends {
			rest := ends[i+1:]
			w, err := walk(t, l.source(), end, func(r pinetree.Record) {
				if r.LSN != rest[0] || string(r.Payload) != string(l.bytes(r.Prev, r.LSN)) {
					t.Fatalf("after %s: record (%s, %s], want one to %s", end, r.Prev, r.LSN, rest[0])
				}
				rest = rest[1:]
			})
			if err != nil || len(rest) != 0 {
				t.Fatalf("after %s: %+v, %v", end, w.Counts(), err)
			}
		}
		huge := l.spans[1]
		for _, pos := range []pinetree.LSN{huge.to - 1, huge.to - 9, huge.from + 11<<20} {
			back := l.flip(t, pos, 3)
			if wrong := l.wantDamage(t, l.source(), l.base, pos); wrong.LSN != huge.from {
				t.Errorf("flip at %s: %v", pos, wrong)
			}
			back()
		}
		// A walk that has shipped some pieces meets the damage later.
		back := l.flip(t, huge.to-1, 0)
		if _, err := walk(t, l.source(), ends[3], func(pinetree.Record) { t.Error("a piece of a damaged record") }); !errors.Is(err, pinetree.ErrCorrupt) {
			t.Errorf("resumed before the damage: %v", err)
		}
		back()
	}
}

// TestASwitchOfALargeSegmentComesInPieces: 16 MiB of zeroes are one record's.
func TestASwitchOfALargeSegmentComesInPieces(t *testing.T) {
	f := newForge(0xD110, 16<<20)
	f.record(100, 1, 0)
	f.switchSegment()
	f.record(100, 1, 0)
	if w := walkForged(t, f); w.Counts().Delivered != 2+4 {
		t.Errorf("%+v", w.Counts())
	}
	l := newWAL(t, f.files())
	defer l.flip(t, l.base+12<<20, 0)()
	l.wantDamage(t, l.source(), l.base, l.base+12<<20)
}

// TestAnyLogComesBack forges logs of any records and resumes anywhere.
func TestAnyLogComesBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newForge(0xD110, 1<<20)
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0:
				f.switchSegment()
			case 1:
				f.fill(8 * rapid.IntRange(0, 4).Draw(rt, "left"))
			case 2:
				f.record(rapid.IntRange(24, 300_000).Draw(rt, "large"), 1, 0)
			default:
				f.record(rapid.IntRange(24, 9000).Draw(rt, "size"), 1, 0)
			}
		}
		walkForged(t, f)
		l := newWAL(t, f.files())
		from := rapid.SampledFrom(l.spans).Draw(rt, "from").to
		at := from
		if _, err := walk(t, l.source(), from, func(r pinetree.Record) { at = r.LSN }); err != nil || at != f.pos() {
			rt.Fatalf("from %s: up to %s, %v", from, at, err)
		}
		pos := f.base + pinetree.LSN(rapid.IntRange(0, len(f.log)-1).Draw(rt, "flip"))
		bit := rapid.IntRange(0, 7).Draw(rt, "bit")
		if !l.blind(pos, bit) && pos > l.base+longHeaderBytes {
			defer l.flip(t, pos, bit)()
			l.wantDamage(t, l.source(), l.base, pos)
		}
	})
}
