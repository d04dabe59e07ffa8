package pgwal

import (
	"crypto/md5"
	"encoding/hex"
	"io"
	"os"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/pgwal/pgsample"
)

// small is the folder of the sample with 1 MiB segments, large that of the one
// with 16 MiB segments.
func small(t testing.TB) string {
	t.Helper()
	folder := t.TempDir()
	if err := pgsample.Unpack(folder); err != nil {
		t.Fatal(err)
	}
	return folder
}

func large(t testing.TB) string {
	t.Helper()
	folder := t.TempDir()
	archive, err := os.Open("testdata/pgwal-16mb.tar.zst")
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	if err := pgsample.UnpackArchive(archive, folder); err != nil {
		t.Fatal(err)
	}
	return folder
}

// walk delivers all records to fn and returns the walker and what ended it.
func walk(t testing.TB, source Source, from pinetree.LSN, fn func(pinetree.Record)) (*Walker, error) {
	t.Helper()
	w, err := Open(source, from)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { w.Close() })
	at := w.Base()
	for {
		r, err := w.Next()
		if err == io.EOF {
			return w, nil
		}
		if err != nil {
			return w, err
		}
		if r.Prev != at || r.LSN <= r.Prev || pinetree.LSN(len(r.Payload)) != r.LSN-r.Prev {
			t.Fatalf("record (%s, %s] with %d bytes does not follow on %s", r.Prev, r.LSN, len(r.Payload), at)
		}
		at = r.LSN
		fn(r)
	}
}

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
		})
	}
}
