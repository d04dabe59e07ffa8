package walengine_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/disk/faultfs"
	"github.com/pinetree-db/pinetree/engine/walengine"
)

// TestFlippedBitIsSeen flips bits all over a store that was closed. What is
// read then is what was written, or there is an error of damage that names a
// file.
func TestFlippedBitIsSeen(t *testing.T) {
	h := history(t)
	whole := newStory(t, tiny, h)
	if err := whole.run(); err != nil {
		t.Fatal(err)
	}
	if err := whole.store.Close(); err != nil {
		t.Fatal(err)
	}
	whole.disk.Crash(faultfs.Crash{})
	refused, same := 0, 0
	for bit := 0; ; bit += 100 + bit%7 {
		s := &story{t: t, disk: whole.disk.Clone(), options: tiny, history: h, sure: whole.sure, tried: whole.tried}
		name := s.disk.FlipBit(bit)
		if name == "" {
			break
		}
		err := s.open()
		for id := pinetree.GroupID(1); id <= 2 && err == nil; id++ {
			err = s.checkGroup(id)
		}
		switch {
		case err == nil:
			same++
		case !errors.Is(err, pinetree.ErrCorrupt) || !strings.Contains(err.Error(), "volume") && !strings.Contains(err.Error(), ".wal") && !strings.Contains(err.Error(), ".group"):
			t.Fatalf("bit %d, in %s: %v", bit, name, err)
		default:
			refused++
		}
	}
	t.Logf("%d flips refused, %d without effect", refused, same)
	if refused < 8*same { // paddings, and positions and metadata between two others
		t.Errorf("%d flips refused and %d without effect, want most refused", refused, same)
	}
}

// TestMissingFileIsSeen removes each file of a store that was closed.
func TestMissingFileIsSeen(t *testing.T) {
	h := history(t)
	whole := newStory(t, tiny, h)
	if err := whole.run(); err != nil {
		t.Fatal(err)
	}
	if err := whole.store.Close(); err != nil {
		t.Fatal(err)
	}
	whole.disk.Crash(faultfs.Crash{})
	last := map[string]string{} // of each group's, the one whose loss nothing on the disk tells of
	for name := range whole.disk.Files() {
		if group := name[:16]; strings.HasSuffix(name, ".wal") {
			last[group] = max(last[group], name)
		}
	}
	for name := range whole.disk.Files() {
		if !strings.HasSuffix(name, ".wal") || name == last[name[:16]] {
			continue
		}
		s := &story{t: t, disk: whole.disk.Clone(), options: tiny, history: h, sure: whole.sure, tried: whole.tried}
		fs, err := s.disk.Open()
		if err != nil {
			t.Fatal(err)
		}
		if err := fs.Remove(name); err != nil {
			t.Fatal(err)
		}
		if s.store, err = walengine.OpenFS(fs, tiny); err != nil {
			t.Fatal(err)
		}
		for id := pinetree.GroupID(1); id <= 2 && err == nil; id++ {
			err = s.checkGroup(id)
		}
		if !errors.Is(err, pinetree.ErrCorrupt) {
			t.Errorf("without %s: %v, want it to be missed", name, err)
		}
	}
}

// zeroSector is what a disk does that forgets a sector.
func zeroSector(t *testing.T, d *faultfs.Disk, name string, from int) {
	t.Helper()
	fs, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.WriteParts([][]byte{make([]byte, faultfs.SectorBytes)}, int64(from)), f.Close(), fs.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestLostSectorIsSeen zeroes each sector of what a flush made durable. It looks
// like a torn write, and may not be taken for one.
func TestLostSectorIsSeen(t *testing.T) {
	h := history(t)
	whole := newStory(t, tiny, h)
	if err := whole.run(); err != nil {
		t.Fatal(err)
	}
	if err := whole.store.Close(); err != nil {
		t.Fatal(err)
	}
	whole.disk.Crash(faultfs.Crash{})
	refused := 0
	for name, data := range whole.disk.Files() {
		for from := 0; from+faultfs.SectorBytes <= len(data); from += faultfs.SectorBytes {
			s := &story{t: t, disk: whole.disk.Clone(), options: tiny, history: h, sure: whole.sure, tried: whole.tried}
			zeroSector(t, s.disk, name, from)
			err := s.open()
			for id := pinetree.GroupID(1); id <= 2 && err == nil; id++ {
				err = s.checkGroup(id)
			}
			if err != nil && !errors.Is(err, pinetree.ErrCorrupt) {
				t.Fatalf("%s without the sector at %d: %v", name, from, err)
			}
			if err != nil {
				refused++
			}
		}
	}
	if refused < 20 {
		t.Fatalf("%d lost sectors were refused, the test wants more", refused)
	}
}

// TestWhatWasFlushedBeforeAKillIsMissed: damage to it is no torn write, although the
// process ended before it wrote anything else.
func TestWhatWasFlushedBeforeAKillIsMissed(t *testing.T) {
	s := newStory(t, walengine.Options{}, history(t))
	if err := errors.Join(s.open(), s.create(1), s.apply(1), s.apply(2), s.apply(3), s.flush()); err != nil {
		t.Fatal(err)
	}
	s.disk.Crash(faultfs.Crash{})
	for name, data := range s.disk.Files() {
		if !strings.HasSuffix(name, ".wal") {
			continue
		}
		zeroSector(t, s.disk, name, len(data)/2/faultfs.SectorBytes*faultfs.SectorBytes)
	}
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.store.Open(1); !errors.Is(err, pinetree.ErrCorrupt) {
		t.Errorf("%v, though a sector of what was flushed is gone", err)
	}
}
