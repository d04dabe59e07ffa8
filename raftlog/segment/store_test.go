package segment_test

import (
	"errors"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/disk/faultfs"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/segment"
)

func TestASaveIsOneWriteAndOneSync(t *testing.T) {
	d := faultfs.New()
	s := open(t, d, segment.Options{})
	for _, sync := range []bool{true, false} {
		before := d.Operations()
		index := pinetree.RaftIndex(1)
		if !sync {
			index = 101
		}
		save(t, s, raftlog.Update{Group: 1, Entries: entries(index, 100, 500), MustSync: sync}, raftlog.Update{Group: 2},
			raftlog.Update{Group: 3, Entries: entries(index, 100, 500)})
		want := 1
		if sync {
			want = 2
		}
		if got := d.Operations() - before; got != want {
			t.Errorf("a Save with MustSync %v made %d file operations, want %d", sync, got, want)
		}
	}
}

func TestChecksumsThatTheCallerKnowsAreWrittenDown(t *testing.T) {
	for _, wrong := range []uint32{0, 1} {
		d := faultfs.New()
		s := open(t, d, segment.Options{CacheBytes: 1})
		made := entries(1, 3, 500)
		known := make([]uint32, len(made))
		for i, e := range made {
			known[i] = crc32.Checksum(e.Data, storepb.Castagnoli) ^ wrong
		}
		save(t, s, raftlog.Update{Group: 1, Entries: made, Sums: known, MustSync: true})
		read, err := s.View(1).Entries(1, 4, math.MaxUint64)
		if wrong == 0 && (err != nil || len(read) != 3) || wrong != 0 && !errors.Is(err, pinetree.ErrCorrupt) {
			t.Errorf("with checksums that are off by %d: %d entries, %v", wrong, len(read), err)
		}
	}
	s := open(t, faultfs.New(), segment.Options{})
	if err := s.Save([]raftlog.Update{{Group: 1, Entries: entries(1, 3, 500), Sums: make([]uint32, 2)}}); !errors.Is(err, raftlog.ErrFailed) {
		t.Errorf("two checksums of three entries: %v", err)
	}
}

func TestCompactWritesNothingByItself(t *testing.T) {
	d := faultfs.New()
	s := open(t, d, segment.Options{})
	save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 50, 10), MustSync: true})
	before := d.Operations()
	for i := range pinetree.RaftIndex(50) {
		if err := s.Compact(1, i); err != nil {
			t.Fatal(err)
		}
	}
	if got := d.Operations() - before; got != 0 {
		t.Errorf("Compact made %d file operations", got)
	}
}

func TestTheCacheSparesReadsAndKeepsItsBound(t *testing.T) {
	d := faultfs.New()
	s := open(t, d, segment.Options{CacheBytes: 64 << 10})
	for i := range 100 {
		for group := pinetree.GroupID(1); group <= 3; group++ {
			save(t, s, raftlog.Update{Group: group, Entries: entries(pinetree.RaftIndex(5*i+1), 5, 500)})
		}
		if got := s.Stats().CachedBytes; got > 64<<10 || i > 20 && got < 48<<10 {
			t.Fatalf("%d bytes are cached after %d rounds, the limit is %d", got, i, 64<<10)
		}
	}
	before := d.Operations()
	for group := pinetree.GroupID(1); group <= 3; group++ {
		wantEntries(t, s, group, 480, 21)
	}
	if got := d.Operations() - before; got != 0 {
		t.Errorf("reading the newest entries made %d file operations", got)
	}
	wantEntries(t, s, 2, 1, 500)
	if d.Operations() == before {
		t.Error("the oldest entries were not read from the disk; where from?")
	}
	if err := s.Compact(2, 500); err != nil {
		t.Fatal(err)
	}
	for _, group := range s.Groups() {
		if err := s.Remove(group); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Stats().CachedBytes; got != 0 {
		t.Errorf("%d bytes are cached of nothing", got)
	}
}

func TestOnlyOneStoreOpensADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "raft")
	s, err := segment.Open(dir, segment.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := segment.Open(dir, segment.Options{}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second Open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := segment.Open(dir, segment.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	for _, size := range []int64{-1, 100, 2 << 30} {
		if _, err := segment.OpenFS(nil, segment.Options{SegmentBytes: size}); err == nil {
			t.Errorf("segments of %d bytes were accepted", size)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := segment.Open(file, segment.Options{}); err == nil {
		t.Error("a file was opened as a directory")
	}
}

func TestAClosedStoreSaysSo(t *testing.T) {
	s := open(t, faultfs.New(), segment.Options{CacheBytes: 1000})
	save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 10, 200), MustSync: true}, raftlog.Update{Group: 1, Entries: entries(11, 2, 10)})
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	_, read := s.View(1).Entries(1, 3, math.MaxUint64)
	for name, err := range map[string]error{
		"Save": s.Save([]raftlog.Update{{Group: 1}}), "Compact": s.Compact(1, 1), "Remove": s.Remove(1), "Probe": s.Probe(), "Entries": read,
	} {
		if !errors.Is(err, pinetree.ErrStopped) {
			t.Errorf("%s: %v, want ErrStopped", name, err)
		}
	}
	wantEntries(t, s, 1, 11, 2)
}

// gate lets a test hold reads of files up.
type gate struct {
	segment.FS
	entered chan struct{}
	pass    chan struct{}
}

type gatedFile struct {
	segment.File
	gate *gate
}

func (g *gate) Open(name string) (segment.File, error) { return g.wrap(g.FS.Open(name)) }

func (g *gate) Create(name string) (segment.File, error) { return g.wrap(g.FS.Create(name)) }

func (g *gate) wrap(f segment.File, err error) (segment.File, error) {
	return gatedFile{f, g}, err
}

func (f gatedFile) ReadAt(p []byte, offset int64) (int, error) {
	if f.gate.entered != nil {
		f.gate.entered <- struct{}{}
		<-f.gate.pass
	}
	return f.File.ReadAt(p, offset)
}

func TestAReadOutlivesTheDeletionOfItsSegment(t *testing.T) {
	fs, err := faultfs.New().Open()
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{FS: fs}
	s, err := segment.OpenFS(g, segment.Inline(segment.Options{SegmentBytes: 4 << 10, CacheBytes: 1}))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		save(t, s, raftlog.Update{Group: 1, Entries: entries(pinetree.RaftIndex(i+1), 1, 1000), MustSync: true})
	}
	g.entered, g.pass = make(chan struct{}, 1), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		read, err := s.View(1).Entries(1, 3, math.MaxUint64)
		if err == nil && len(read) != 2 {
			err = io.ErrUnexpectedEOF
		}
		done <- err
	}()
	<-g.entered
	if err := s.Compact(1, 20); err != nil {
		t.Fatal(err)
	}
	if err := s.Probe(); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Segments != 1 {
		t.Fatalf("%d segments are left, held by %s", st.Segments, st.Held)
	}
	// A file that is read is not used again.
	for i := range 40 {
		save(t, s, raftlog.Update{Group: 1, Entries: entries(pinetree.RaftIndex(i+21), 1, 1000), MustSync: true})
	}
	g.entered = nil
	close(g.pass)
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("a read that was under way when its segment was deleted: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the read does not end")
	}
}
