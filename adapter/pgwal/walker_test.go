package pgwal

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/pgwal/pgsample"
)

// TestSamplesComeBackByteForByte: the figures are those of pg_waldump and of
// md5sum. The small sample's last record start is that of a tail fragment.
func TestSamplesComeBackByteForByte(t *testing.T) {
	for _, c := range []struct {
		name, folder, md5 string
		base, end         pinetree.LSN
		want              Counts
	}{
		{"1 MiB", small(t), pgsample.MD5, 0x600000, 0x1700000, Counts{
			Records: pgsample.Records, HeadFragments: 1, TailFragments: 1, Delivered: pgsample.Records + 2, Bytes: pgsample.Bytes,
		}},
		{"16 MiB", large(t), "939b8f67721c70c6e79e51466771bba1", 0x1000000, 0x5000000, Counts{
			Records: 180_675, Delivered: 180_675, Bytes: 64 << 20,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sum := md5.New()
			w, err := walk(t, Paths(c.folder), 0, func(r pinetree.Record) { sum.Write(r.Payload) })
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(sum.Sum(nil)); got != c.md5 {
				t.Errorf("md5 is %s, should be %s", got, c.md5)
			}
			if w.Counts() != c.want || w.Base() != c.base || w.End() != c.end || w.Bytes() != c.want.Bytes {
				t.Errorf("from %s to %s: %+v; want %s to %s: %+v", w.Base(), w.End(), w.Counts(), c.base, c.end, c.want)
			}
			if w.Version() != "15" {
				t.Errorf("version %q", w.Version())
			}
			if pad, err := Padding(firstBytes(t, c.folder), w.End()); err != nil || pad != 0 {
				t.Errorf("padding %d, %v", pad, err)
			}
		})
	}
}

func firstBytes(t testing.TB, folder string) []byte {
	var first []byte
	if _, err := walk(t, Paths(folder), 0, func(r pinetree.Record) {
		if first == nil {
			first = r.Payload
		}
	}); err != nil {
		t.Fatal(err)
	}
	return first
}

// TestAnEventfulHistoryIsWalkedWhole: the number of records is the sum of what
// pg_waldump counts in the five segments.
func TestAnEventfulHistoryIsWalkedWhole(t *testing.T) {
	l := read(t, history(t))
	var got []byte
	w, err := walk(t, l.source(), 0, func(r pinetree.Record) { got = append(got, r.Payload...) })
	if err != nil {
		t.Fatal(err)
	}
	const records = 3109 + 978 + 504 + 9004 + 1
	want := Counts{Records: records, HeadFragments: 1, BrokenOff: 1, Delivered: records + 2, Bytes: 0x4000A0}
	if w.Counts() != want || w.Base() != 0x600000 || w.End() != 0xA000A0 {
		t.Errorf("from %s to %s: %+v; want %+v", w.Base(), w.End(), w.Counts(), want)
	}
	if !bytes.Equal(got, l.log[:len(got)]) {
		t.Error("the bytes are not those of the segments")
	}
	if pad, err := Padding(got[:longHeaderBytes], w.End()); err != nil || pad != 1<<20-0xA0 {
		t.Errorf("padding %d, %v", pad, err)
	}
	for _, s := range l.spans {
		if s.kind == brokenOff && (s.from != 0x7FE098 || s.to != 0x800000) {
			t.Errorf("the broken-off record is from %s to %s", s.from, s.to)
		}
	}
}

// TestAWalkGoesOnWhereItEnded resumes at records, fragments, and ends of
// segments, and gets the same records as the first walk did.
func TestAWalkGoesOnWhereItEnded(t *testing.T) {
	for name, folder := range map[string]string{"small": small(t), "history": history(t)} {
		t.Run(name, func(t *testing.T) {
			l := read(t, folder)
			for i, s := range l.spans {
				if i%1000 != 0 && s.kind == wholeRecord && i < len(l.spans)-2 {
					continue
				}
				next := i + 1
				_, err := walk(t, l.source(), s.to, func(r pinetree.Record) {
					if want := l.spans[next]; r.Prev != want.from || r.LSN != want.to || !bytes.Equal(r.Payload, l.bytes(r.Prev, r.LSN)) {
						t.Fatalf("after %s: record (%s, %s], want (%s, %s]", s.to, r.Prev, r.LSN, want.from, want.to)
					}
					next++
				})
				if err != nil || next != len(l.spans) {
					t.Fatalf("after %s: %d of %d records, %v", s.to, next, len(l.spans), err)
				}
			}
		})
	}
}

// TestSegmentsThatComeOneByOneShipOnce walks whatever segments are there, each
// time from where it came before, as an archive grows.
func TestSegmentsThatComeOneByOneShipOnce(t *testing.T) {
	for name, folder := range map[string]string{"small": small(t), "history": history(t)} {
		t.Run(name, func(t *testing.T) {
			l := read(t, folder)
			names := l.names(t)
			for _, keep := range []int{1, 2, len(names)} {
				var got []byte
				at := pinetree.LSN(0)
				for n := 1; n <= len(names); n++ {
					w, err := walk(t, l.only(names[max(0, n-keep):n]...), at, func(r pinetree.Record) { got = append(got, r.Payload...) })
					if err != nil {
						t.Fatalf("%d segments: %v", n, err)
					}
					if at = w.End(); n < len(names) && at != l.base+pinetree.LSN(n)*l.size {
						t.Fatalf("%d segments end at %s", n, at)
					}
				}
				if !bytes.Equal(got, l.log[:l.end()-l.base]) {
					t.Fatalf("with %d segments kept: %d bytes, %d are in the segments, or they differ", keep, len(got), len(l.log))
				}
			}
		})
	}
}

// TestAForeignPositionIsRefused: what was shipped before is not of these files.
func TestAForeignPositionIsRefused(t *testing.T) {
	l := read(t, small(t))
	second := l.spans[1]
	for _, c := range []struct {
		from pinetree.LSN
		want error
	}{
		{second.from + 8, pinetree.ErrBadBatch},
		{second.to - 1, pinetree.ErrBadBatch},
		{l.end() + 1, pinetree.ErrBadBatch},
		{l.end() + 4*l.size, pinetree.ErrBadBatch},
		{l.base - 8, pinetree.ErrCorrupt},
	} {
		w, err := walk(t, l.source(), c.from, func(r pinetree.Record) { t.Errorf("from %s: record (%s, %s]", c.from, r.Prev, r.LSN) })
		if !errors.Is(err, c.want) {
			t.Errorf("from %s: %v, want %v", c.from, err, c.want)
		}
		if w == nil {
			continue
		}
		if _, again := w.Next(); again == nil || again == io.EOF {
			t.Errorf("from %s: after the error comes %v", c.from, again)
		}
	}
}
