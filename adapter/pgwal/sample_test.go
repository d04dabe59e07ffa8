package pgwal

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/pgwal/pgsample"
)

// small is the folder of the sample with 1 MiB segments.
func small(t testing.TB) string {
	t.Helper()
	folder := t.TempDir()
	if err := pgsample.Unpack(folder); err != nil {
		t.Fatal(err)
	}
	return folder
}

// large is the folder of the sample with 16 MiB segments.
func large(t testing.TB) string { return unpack(t, "testdata/pgwal-16mb.tar.zst") }

// history is the pg_wal folder of a PostgreSQL 15.18 with 1 MiB segments to
// which much had happened: segment 6 closed by pg_switch_wal; a message of 62
// kB broken off at the end of 7 by a crash, after which 8 was lost; 8 closed in
// the same way; then a recovery that began timeline 2 in 9, and a shutdown,
// which closed 9. A holds one checkpoint and what the file held in its earlier
// life as segment 5.
func history(t testing.TB) string { return unpack(t, "testdata/pgwal-history.tar.zst") }

func unpack(t testing.TB, path string) string {
	t.Helper()
	folder := t.TempDir()
	archive, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	if err := pgsample.UnpackArchive(archive, folder); err != nil {
		t.Fatal(err)
	}
	return folder
}

// wal is a log in memory that tests may damage, and what is true of it.
type wal struct {
	files fstest.MapFS
	log   []byte // as it was before any damage
	base  pinetree.LSN
	spans []span
	size  pinetree.LSN // of a segment
}

// read takes the files of a folder that make up the log, and walks them once
// for what is true. That the walk is right is for other tests to show.
func read(t testing.TB, folder string) *wal {
	t.Helper()
	files := fstest.MapFS{}
	paths, _ := filepath.Glob(filepath.Join(folder, "*"))
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = &fstest.MapFile{Data: data}
	}
	return newWAL(t, files)
}

func newWAL(t testing.TB, files fstest.MapFS) *wal {
	t.Helper()
	l := &wal{files: files}
	segments, err := FS(files).segments()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range segments {
		l.log = append(l.log, files[s.name].Data...)
	}
	w, err := walk(t, l.source(), 0, func(pinetree.Record) {})
	if err != nil {
		t.Fatal(err)
	}
	l.base, l.size = w.Base(), w.scanner.id.segmentBytes
	for s := *w.fresh(t, l); ; {
		found, err := s.next()
		if err == io.EOF {
			return l
		}
		if err != nil {
			t.Fatal(err)
		}
		l.spans = append(l.spans, found)
	}
}

func (w *Walker) fresh(t testing.TB, l *wal) *scanner {
	t.Helper()
	again, err := Open(l.source(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	return &again.scanner
}

func (l *wal) source() Source { return FS(l.files) }

// names of the segments along the log.
func (l *wal) names(t testing.TB) []string {
	segments, err := l.source().segments()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range segments {
		names = append(names, s.name)
	}
	return names
}

// only is the log with just these segments, sharing their bytes.
func (l *wal) only(names ...string) Source {
	files := maps.Clone(l.files)
	maps.DeleteFunc(files, func(name string, _ *fstest.MapFile) bool { return !slices.Contains(names, name) })
	return FS(files)
}

// at returns the byte at a position, in its file.
func (l *wal) at(t testing.TB, pos pinetree.LSN) *byte {
	names := l.names(t)
	return &l.files[names[(pos-l.base)/l.size]].Data[(pos-l.base)%l.size]
}

func (l *wal) bytes(from, to pinetree.LSN) []byte { return l.log[from-l.base : to-l.base] }

// end of the log.
func (l *wal) end() pinetree.LSN { return l.spans[len(l.spans)-1].to }

// walk delivers all records to fn and returns the walker and what ended it.
func walk(t testing.TB, source Source, from pinetree.LSN, fn func(pinetree.Record)) (*Walker, error) {
	t.Helper()
	w, err := Open(source, from)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	at := w.Base()
	for {
		r, err := w.Next()
		if err == io.EOF {
			return w, nil
		}
		if err != nil {
			return w, err
		}
		if r.Prev != at || r.LSN <= r.Prev || pinetree.LSN(len(r.Payload)) != r.LSN-r.Prev || len(r.Payload) > pieceBytes {
			t.Fatalf("record (%s, %s] with %d bytes does not follow on %s", r.Prev, r.LSN, len(r.Payload), at)
		}
		at = r.LSN
		fn(r)
	}
}

// wantDamage walks a damaged log and requires what the package promises: a
// *DamageError that names a place at or before the damage, before it all that
// is sound, and nothing that is not. It returns the error.
func (l *wal) wantDamage(t testing.TB, source Source, from, damaged pinetree.LSN) *DamageError {
	t.Helper()
	at := from
	_, err := walk(t, source, from, func(r pinetree.Record) {
		if !bytes.Equal(r.Payload, l.bytes(r.Prev, r.LSN)) {
			t.Fatalf("damage at %s: record (%s, %s] is wrong", damaged, r.Prev, r.LSN)
		}
		at = r.LSN
	})
	var wrong *DamageError
	if !errors.As(err, &wrong) || !errors.Is(err, pinetree.ErrCorrupt) {
		t.Fatalf("damage at %s: want a DamageError, got %v", damaged, err)
	}
	if wrong.LSN > damaged || at > damaged {
		t.Fatalf("damage at %s: delivered up to %s, and then %v", damaged, at, err)
	}
	if s := l.spanAfter(at); at < l.end() && s.to <= wrong.LSN {
		t.Fatalf("damage at %s: record (%s, %s] is not delivered, and then %v", damaged, s.from, s.to, err)
	}
	return wrong
}

// spanAfter is the span that has the byte at the position.
func (l *wal) spanAfter(pos pinetree.LSN) span {
	i, _ := slices.BinarySearchFunc(l.spans, pos, func(s span, pos pinetree.LSN) int {
		if s.to <= pos {
			return -1
		}
		return 1
	})
	return l.spans[min(i, len(l.spans)-1)]
}
