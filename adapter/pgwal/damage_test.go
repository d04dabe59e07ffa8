package pgwal

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/pinetree-db/pinetree"
)

// flip turns one bit of the log over and returns what turns it back.
func (l *wal) flip(t testing.TB, pos pinetree.LSN, bit int) (back func()) {
	b := l.at(t, pos)
	*b ^= 1 << bit
	return func() { *b ^= 1 << bit }
}

// blind tells whether PostgreSQL gives no means to see the bit: the rest of a
// record of which the head is not there, and the last bits of its length; what
// is there of a record whose end is not; and one flag. Pages kept from a
// segment's earlier life are no part of the log, and do not matter.
func (l *wal) blind(pos pinetree.LSN, bit int) bool {
	inPage, header := pos%pageBytes, pinetree.LSN(shortHeaderBytes)
	if pos%l.size < pageBytes {
		header = longHeaderBytes
	}
	head := l.spans[0]
	switch s := l.spanAfter(pos); {
	case inPage == 2 && bit == 2:
		return true
	case pos-pos%pageBytes >= l.end():
		return true
	case head.kind == headFragment && pos == head.from+16 && bit < 3:
		return true
	case inPage < header:
		return false
	default:
		return s.kind != wholeRecord
	}
}

// checkFlip turns a bit over and walks from a position before it.
func (l *wal) checkFlip(t testing.TB, from, pos pinetree.LSN, bit int) {
	t.Helper()
	defer l.flip(t, pos, bit)()
	if !l.blind(pos, bit) {
		l.wantDamage(t, l.source(), from, pos)
		return
	}
	// What cannot be seen may be delivered as it is, or look like damage.
	at := from
	_, err := walk(t, l.source(), from, func(r pinetree.Record) {
		want := bytes.Clone(l.bytes(r.Prev, r.LSN))
		if pos >= r.Prev && pos < r.LSN {
			want[pos-r.Prev] ^= 1 << bit
		}
		if !bytes.Equal(r.Payload, want) {
			t.Fatalf("bit %d at %s: record (%s, %s] is wrong", bit, pos, r.Prev, r.LSN)
		}
		at = r.LSN
	})
	if err != nil && !errors.Is(err, pinetree.ErrCorrupt) || err == nil && at != l.end() {
		t.Fatalf("bit %d at %s: delivered up to %s, then %v", bit, pos, at, err)
	}
}

// TestAFlippedBitIsFoundWhereverItIs turns over every bit of the page headers
// and one bit of many bytes, on the first page all, of pages where something
// begins, ends or changes, and then bits anywhere.
func TestAFlippedBitIsFoundWhereverItIs(t *testing.T) {
	for name, folder := range map[string]string{"small": small(t), "history": history(t)} {
		t.Run(name, func(t *testing.T) {
			l := read(t, folder)
			segment := func(i pinetree.LSN) pinetree.LSN { return l.base + i*l.size }
			pages := []pinetree.LSN{segment(0), segment(0) + pageBytes, segment(1), segment(1) + 2*pageBytes}
			if name == "history" {
				pages = []pinetree.LSN{segment(2) - pageBytes, segment(2), segment(3), segment(3) + pageBytes, segment(4), segment(4) + pageBytes}
			}
			for n, page := range pages {
				from := l.start(max(l.base, page-1))
				for i := pinetree.LSN(0); i < longHeaderBytes; i++ {
					for bit := range 8 {
						l.checkFlip(t, from, page+i, bit)
					}
				}
				step := pinetree.LSN(97)
				if n == 1 && name == "small" && !testing.Short() {
					step = 1
				}
				for i := pinetree.LSN(0); i < pageBytes; i += step {
					l.checkFlip(t, from, page+i, int(i*5)%8)
				}
			}
			random := rand.New(rand.NewPCG(1, 2))
			for range 200 {
				pos := l.base + pinetree.LSN(random.Int64N(int64(len(l.log))))
				l.checkFlip(t, l.start(pos), pos, random.IntN(8))
			}
		})
	}
}

// start is the end of a record at or before the position.
func (l *wal) start(pos pinetree.LSN) pinetree.LSN {
	if pos <= l.base {
		return l.base
	}
	return l.spanAfter(pos - 1).from
}

// TestEveryPageHeaderBitIsChecked turns over each bit of the headers of the
// last pages of the log, after which no page could bear witness.
func TestEveryPageHeaderBitIsChecked(t *testing.T) {
	l := read(t, small(t))
	last := l.end() - pageBytes
	for _, page := range []pinetree.LSN{last, last - pageBytes, l.end() - l.size} {
		header := pinetree.LSN(shortHeaderBytes)
		if page%l.size == 0 {
			header = longHeaderBytes
		}
		for i := pinetree.LSN(0); i < header; i++ {
			for bit := range 8 {
				l.checkFlip(t, l.start(page-page%l.size), page+i, bit)
			}
		}
	}
}

// TestAWrongLengthOnTheLastPageIsFound: a record that seems to run over the end
// of the log must not pass for a fragment and take those after it along.
func TestAWrongLengthOnTheLastPageIsFound(t *testing.T) {
	l := read(t, small(t))
	last := l.end() - pageBytes
	for _, s := range l.spans {
		if s.kind != wholeRecord || s.from <= last {
			continue
		}
		for i := range pinetree.LSN(4) {
			for bit := range 8 {
				l.checkFlip(t, s.from, s.from+i, bit)
			}
		}
	}
}

// TestTheFirstOfTwoSegmentsIsNotBelievedBlindly: with two segments a wrong bit
// in what they should have in common is seen, with one it is all there is.
func TestTheFirstOfTwoSegmentsIsNotBelievedBlindly(t *testing.T) {
	l := read(t, small(t))
	names := l.names(t)
	for i := pinetree.LSN(0); i < longHeaderBytes; i++ {
		for bit := range 8 {
			if l.blind(l.base+i, bit) {
				continue
			}
			back := l.flip(t, l.base+i, bit)
			l.wantDamage(t, l.only(names[:2]...), l.base, l.base+i)
			l.wantDamage(t, l.only(names[:3]...), l.base, l.base+i)
			if i < 24 || i >= 32 {
				l.wantDamage(t, l.only(names[:1]...), l.base, l.base+i)
			}
			back()
		}
	}
}

// TestAShortOrLongFileIsDamage cuts a file in the middle of the log and the last
// one: at its start, in a header, at a page's end, anywhere.
func TestAShortOrLongFileIsDamage(t *testing.T) {
	l := read(t, small(t))
	names := l.names(t)
	for _, i := range []int{0, 5, len(names) - 1} {
		start := l.base + pinetree.LSN(i)*l.size
		file := l.files[names[i]]
		whole := file.Data
		for _, size := range []int{0, 1, 20, 24, 39, 40, 41, 300, pageBytes - 1, pageBytes, pageBytes + 8, 12 * pageBytes, 512_000, len(whole) - 1} {
			file.Data = whole[:size]
			wrong := l.wantDamage(t, l.source(), l.start(start), start+pinetree.LSN(size))
			if !strings.HasSuffix(wrong.Segment, names[i]) {
				t.Errorf("%s cut to %d bytes: %v", names[i], size, wrong)
			}
		}
		file.Data = append(slices.Clip(whole), 0)
		l.wantDamage(t, l.source(), l.start(start), start)
		file.Data = whole
	}
}

// TestAMissingSegmentIsNamed takes each segment away in turn. Without the first
// or the last one the log is shorter, and that is no damage.
func TestAMissingSegmentIsNamed(t *testing.T) {
	l := read(t, small(t))
	names := l.names(t)
	for i := 1; i < len(names)-1; i++ {
		start := l.base + pinetree.LSN(i)*l.size
		rest := slices.Delete(slices.Clone(names), i, i+1)
		if wrong := l.wantDamage(t, l.only(rest...), l.start(start-l.size), start); wrong.Segment != names[i] {
			t.Errorf("without %s: %v", names[i], wrong)
		}
		// A walk that is to begin in the gap.
		_, err := Open(l.only(rest...), start+100)
		var wrong *DamageError
		if !errors.As(err, &wrong) || wrong.Segment != names[i] || wrong.LSN != start+100 {
			t.Errorf("from inside %s without it: %v", names[i], err)
		}
	}
	w, err := walk(t, l.only(names[:3]...), 0, func(pinetree.Record) {})
	if err != nil || w.End() != l.base+3*l.size || w.Counts().TailFragments != 1 {
		t.Errorf("the first three segments: %+v, %v", w.Counts(), err)
	}
}

// TestSegmentsInEachOthersPlaceAreDamage exchanges two files, and puts a copy of
// one in the place of another.
func TestSegmentsInEachOthersPlaceAreDamage(t *testing.T) {
	l := read(t, small(t))
	names := l.names(t)
	for _, c := range [][2]int{{0, 1}, {1, 2}, {3, 9}, {9, 3}, {14, 16}, {0, 16}} {
		a, b := l.files[names[c[0]]], l.files[names[c[1]]]
		first := l.base + pinetree.LSN(min(c[0], c[1]))*l.size
		a.Data, b.Data = b.Data, a.Data
		l.wantDamage(t, l.source(), l.start(first), first)
		own := b.Data
		b.Data = a.Data // The copy of b in its own place and in that of a.
		l.wantDamage(t, l.source(), l.start(l.base+pinetree.LSN(c[0])*l.size), l.base+pinetree.LSN(c[0])*l.size)
		b.Data = own
		a.Data, b.Data = b.Data, a.Data
	}
	// The last segment's place taken by an older one is what a recycled file
	// looks like: the log ends before it.
	last := l.files[names[16]]
	last.Data = l.files[names[10]].Data
	w, err := walk(t, l.source(), 0, func(pinetree.Record) {})
	if err != nil || w.End() != l.end()-l.size {
		t.Errorf("recycled last segment: %v", err)
	}
}

// TestWrittenBytesAfterUnwrittenOnesAreDamage blanks pages and segments within
// the log: PostgreSQL would end it there.
func TestWrittenBytesAfterUnwrittenOnesAreDamage(t *testing.T) {
	l := read(t, small(t))
	names := l.names(t)
	for _, c := range []struct{ segment, page, pages int }{{3, 0, 128}, {3, 0, 1}, {3, 5, 1}, {3, 5, 123}, {3, 127, 1}, {16, 126, 1}} {
		file := l.files[names[c.segment]]
		whole := file.Data
		blank := bytes.Clone(whole)
		clear(blank[c.page*pageBytes : (c.page+c.pages)*pageBytes])
		file.Data = blank
		start := l.base + pinetree.LSN(c.segment)*l.size
		l.wantDamage(t, l.source(), l.start(start), start+pinetree.LSN(c.page)*pageBytes+pageBytes)
		file.Data = whole
	}
}

// TestARecordThatStopsInItsSegmentIsIncomplete: the same as a crash leaves, and
// said so.
func TestARecordThatStopsInItsSegmentIsIncomplete(t *testing.T) {
	l := read(t, small(t))
	names := l.names(t)
	file := l.files[names[16]]
	file.Data = bytes.Clone(file.Data)
	start := l.base + 16*l.size
	page := pinetree.LSN(pageBytes)
	for l.spanAfter(start+page).from == start+page {
		page += pageBytes
	}
	clear(file.Data[page:])
	if wrong := l.wantDamage(t, l.source(), l.start(start), start+page); !wrong.Incomplete {
		t.Errorf("not marked as incomplete: %v", wrong)
	}
}

// TestForeignFilesAreToldApart: what is no segment, or none of this kind.
func TestForeignFilesAreToldApart(t *testing.T) {
	l := read(t, small(t))
	names := l.names(t)
	if _, err := Open(FS(fstest.MapFS{"README": {}, names[0] + ".zst": {}}), 0); err == nil || !strings.Contains(err.Error(), "no WAL segments") {
		t.Errorf("no segments: %v", err)
	}
	if _, err := Open(Paths(t.TempDir()+"/none"), 0); err == nil {
		t.Error("a path that is not there is opened")
	}
	for what, data := range map[string][]byte{
		"empty": {}, "zeroes": make([]byte, 1<<20), "text": bytes.Repeat([]byte("text"), 1<<18), "magic alone": {0x10, 0xD1},
	} {
		_, err := Open(FS(fstest.MapFS{names[0]: {Data: data}}), 0)
		var wrong *DamageError
		if !errors.As(err, &wrong) || wrong.Segment != names[0] {
			t.Errorf("%s: %v", what, err)
		}
	}
	other := read(t, history(t))
	mixed := other.files[other.names(t)[1]]
	mine := l.files[names[1]]
	l.files[names[1]] = mixed
	l.wantDamage(t, l.source(), l.base, l.base+l.size)
	l.files[names[1]] = mine
}
