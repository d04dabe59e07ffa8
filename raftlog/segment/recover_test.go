package segment_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/disk/faultfs"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/segment"
)

// rewrite changes a file of a disk below the store, durably.
func rewrite(t *testing.T, d *faultfs.Disk, name string, change func([]byte) []byte) {
	t.Helper()
	data := change(slices.Clone(d.Files()[name]))
	fs, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	if err := fs.Remove(name); err != nil {
		t.Fatal(err)
	}
	if data == nil {
		return
	}
	f, err := fs.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.WriteParts([][]byte{data}, 0); err != nil {
		t.Fatal(err)
	}
}

// segments counts the files that are segments.
func segments(d *faultfs.Disk) int {
	n := 0
	for name := range d.Files() {
		if strings.HasSuffix(name, ".raftlog") {
			n++
		}
	}
	return n
}

// threeSegments makes a store with segments 1 to 3 and closes it.
func threeSegments(t *testing.T) *faultfs.Disk {
	t.Helper()
	d := faultfs.New()
	s := open(t, d, segment.Options{SegmentBytes: 4 << 10})
	for i := range pinetree.RaftIndex(11) {
		save(t, s, raftlog.Update{Group: 1, Entries: entries(i+1, 1, 900), MustSync: true})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := segments(d); n != 3 {
		t.Fatalf("there are %d segments", n)
	}
	return d
}

func name(segment int) string { return fmt.Sprintf("%016d.raftlog", segment) }

func TestDamageIsRefusedWithItsPlace(t *testing.T) {
	none := func([]byte) []byte { return nil }
	flip := func(offset int) func([]byte) []byte {
		return func(b []byte) []byte { b[offset] ^= 4; return b }
	}
	for title, c := range map[string]struct {
		segment int
		change  func([]byte) []byte
		says    []string
	}{
		"the middle segment is missing":   {2, none, []string{name(2), "missing", name(3)}},
		"the oldest segment is missing":   {1, none, []string{name(2), "entry 1 of group 1 is in no segment"}},
		"a bit in the middle segment":     {2, flip(700), []string{name(2) + " offset", "only the end of the newest"}},
		"a bit in the newest segment":     {3, flip(700), []string{name(3) + " offset"}},
		"a bit of the magic":              {3, flip(0), []string{name(3) + " offset 0", "magic"}},
		"a bit of the version":            {3, flip(8), []string{name(3) + " offset 0", "header fails"}},
		"an old segment is cut short":     {2, func(b []byte) []byte { return b[:1500] }, []string{name(2) + " offset"}},
		"an old segment lost its frames":  {2, func(b []byte) []byte { clear(b[96:]); return b }, []string{name(2) + " offset 96"}},
		"an old segment has a torn end":   {2, func(b []byte) []byte { clear(b[3000:]); return b }, []string{name(2) + " offset"}},
		"a segment is empty":              {3, func([]byte) []byte { return []byte{} }, []string{name(3) + " offset 0", "less than a file header"}},
		"an old segment has been cut off": {2, func(b []byte) []byte { return b[:96] }, []string{name(2) + " offset 96", "the next segment says at offset"}},
		"the newest lost its checkpoint":  {3, func(b []byte) []byte { clear(b[32:]); return b }, []string{name(3) + " offset 32", "checkpoint"}},
		"the newest is a copy of another": {3, nil, []string{name(3) + " offset 0", "header says segment 2"}},
		"the newest segment is missing":   {3, none, []string{name(2) + " offset", name(3) + ", which follows here, is missing"}},
	} {
		t.Run(title, func(t *testing.T) {
			d := threeSegments(t)
			if c.change == nil {
				other := d.Files()[name(2)]
				c.change = func([]byte) []byte { return other }
			}
			rewrite(t, d, name(c.segment), c.change)
			before := d.Files()
			_, err := tryOpen(d, segment.Options{SegmentBytes: 4 << 10})
			wantCorrupt(t, err, c.says...)
			after := d.Files()
			if len(before) != len(after) {
				t.Errorf("there were %d files, now there are %d", len(before), len(after))
			}
			for name := range before {
				if !slices.Equal(before[name], after[name]) {
					t.Errorf("%s was changed", name)
				}
			}
		})
	}
}

// TestALostSectorOfAcknowledgedBytesIsRefused: a sector of zeroes looks torn,
// but whatever a later frame knows to be synced cannot be.
func TestALostSectorOfAcknowledgedBytesIsRefused(t *testing.T) {
	d := faultfs.New()
	s := open(t, d, segment.Options{SegmentBytes: 64 << 10})
	var ends []int64
	for i := range pinetree.RaftIndex(6) {
		save(t, s, raftlog.Update{Group: 1, Entries: entries(10*i+1, 10, 300), MustSync: true})
		ends = append(ends, s.Stats().Bytes)
	}
	killed := d.Clone()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lose := func(d *faultfs.Disk, sector int) error {
		rewrite(t, d, name(1), func(b []byte) []byte { clear(b[sector*faultfs.SectorBytes:][:faultfs.SectorBytes]); return b })
		s, err := tryOpen(d, segment.Options{SegmentBytes: 64 << 10})
		if err == nil {
			wantEntries(t, s, 1, 1, 50)
			if at, _ := s.View(1).LastIndex(); at != 50 {
				t.Errorf("LastIndex is %d, want 50", at)
			}
		}
		return err
	}
	last := int(ends[len(ends)-2]) / faultfs.SectorBytes // of all that is known to be synced when killed
	for sector := range last {
		wantCorrupt(t, lose(killed.Clone(), sector), name(1)+" offset")
	}
	// Of the last write it is taken for a crash, and the rest is there. When
	// the store was closed it cannot be one.
	for sector := last + 1; sector < int(ends[len(ends)-1])/faultfs.SectorBytes; sector++ {
		if err := lose(killed.Clone(), sector); err != nil {
			t.Errorf("sector %d of the last write was lost: %v", sector, err)
		}
		wantCorrupt(t, lose(d.Clone(), sector), name(1)+" offset")
	}
}

// TestRecoveryMayBeKilledWhileItMends: whatever part of the zeroes over a torn
// frame was written, the next recovery still sees a torn frame.
func TestRecoveryMayBeKilledWhileItMends(t *testing.T) {
	d := faultfs.New()
	s := open(t, d, segment.Options{SegmentBytes: 64 << 10})
	save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 3, 100), MustSync: true})
	d.Inject(d.Operations()+1, faultfs.Stop)
	if err := s.Save([]raftlog.Update{{Group: 1, Entries: entries(4, 1, 40), MustSync: true}}); err == nil {
		t.Fatal("the process was stopped and Save succeeded")
	}
	torn := d.Clone()
	for pad := range 200 {
		d := torn.Clone()
		fs, err := d.Open()
		if err != nil {
			t.Fatal(err)
		}
		for range pad { // gives the operations other numbers, and so other seeds
			if _, err := fs.List(); err != nil {
				t.Fatal(err)
			}
		}
		fs.Close()
		d.Inject(d.Operations()+5, faultfs.Stop) // List, Open, Size, ReadAt, WriteAt
		if _, err := tryOpen(d, segment.Options{SegmentBytes: 64 << 10}); err == nil {
			t.Fatal("nothing was mended")
		}
		d.Crash(faultfs.Crash{PowerCut: pad%2 == 0, Seed: uint64(pad)})
		s, err := tryOpen(d, segment.Options{SegmentBytes: 64 << 10})
		if err != nil {
			t.Fatalf("after a kill while mending, pad %d: %v", pad, err)
		}
		wantEntries(t, s, 1, 1, 3)
	}
}

func TestUnfinishedSegmentsAreRemoved(t *testing.T) {
	d := threeSegments(t)
	fs, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{name(4) + ".new", "notes.txt"} {
		if _, err := fs.Create(left); err != nil {
			t.Fatal(err)
		}
	}
	fs.Close()
	s := open(t, d, segment.Options{})
	wantEntries(t, s, 1, 1, 11)
	var names []string
	for name := range d.Files() {
		names = append(names, name)
	}
	if slices.Contains(names, name(4)+".new") || !slices.Contains(names, "notes.txt") {
		t.Errorf("files after opening: %s", strings.Join(names, ", "))
	}
}

// TestALaterFrameOfATornWriteIsNeverFoundAgain: of a torn write of two frames
// the second is whole, and what is saved next ends where it begins.
func TestALaterFrameOfATornWriteIsNeverFoundAgain(t *testing.T) {
	d := faultfs.New()
	options := segment.Options{SegmentBytes: 64 << 10}
	s := open(t, d, options)
	save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 1, 2000), MustSync: true})
	end := s.Stats().Bytes
	// The first frame ends with a page: zeroes up to a page's end would hide
	// the second one. A frame's header and its table take 43 bytes here.
	size := int((end+3000)/1024*1024-end) - 43
	save(t, s, raftlog.Update{Group: 1, Entries: entries(2, 1, size)}, raftlog.Update{Group: 2, Entries: entries(1, 1, 10)})
	d.Crash(faultfs.Crash{})
	rewrite(t, d, name(1), func(b []byte) []byte { clear(b[end+1024:][:512]); return b })
	for range 2 {
		s = open(t, d, options)
		if got := s.Groups(); len(got) != 1 {
			t.Fatalf("Groups are %v: a frame of a torn write is back", got)
		}
		if last, _ := s.View(1).LastIndex(); last == 1 {
			save(t, s, raftlog.Update{Group: 1, Entries: entries(2, 1, size), MustSync: true})
		}
		d.Crash(faultfs.Crash{})
	}
}

// TestALostNameOfTheNewestSegmentIsMissed: what is in it was acknowledged.
func TestALostNameOfTheNewestSegmentIsMissed(t *testing.T) {
	for seed := range uint64(20) {
		d := faultfs.New()
		s := open(t, d, segment.Options{SegmentBytes: 4 << 10})
		for i := range pinetree.RaftIndex(11) {
			save(t, s, raftlog.Update{Group: 1, Entries: entries(i+1, 1, 900), MustSync: true})
		}
		d.Crash(faultfs.Crash{PowerCut: true, Seed: seed})
		rewrite(t, d, name(3), func([]byte) []byte { return nil })
		_, err := tryOpen(d, segment.Options{SegmentBytes: 4 << 10})
		wantCorrupt(t, err, name(2)+" offset", name(3)+", which follows here, is missing")
	}
}

// TestWhatACrashLeftUnnotedIsNotedNextTime: wherever a crash came while a
// segment was begun, once the store has been open again a lost name is missed.
func TestWhatACrashLeftUnnotedIsNotedNextTime(t *testing.T) {
	o := segment.Options{SegmentBytes: 4 << 10}
	roll := raftlog.Update{Group: 1, Entries: entries(5, 1, 900), MustSync: true}
	unnoted := 0
	for operation := range 20 {
		d := faultfs.New()
		s := open(t, d, o)
		save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 4, 900), MustSync: true})
		d.Inject(d.Operations()+1+operation, faultfs.Stop)
		if err := s.Save([]raftlog.Update{roll}); err == nil {
			break
		}
		d.Crash(faultfs.Crash{PowerCut: true, Seed: uint64(operation)})
		if d.Files()[name(2)] == nil {
			continue
		}
		lost := d.Clone()
		rewrite(t, lost, name(2), func([]byte) []byte { return nil })
		if _, err := tryOpen(lost, o); err == nil {
			unnoted++
		}
		open(t, d, o)
		d.Crash(faultfs.Crash{PowerCut: true, Seed: uint64(operation)})
		rewrite(t, d, name(2), func([]byte) []byte { return nil })
		_, err := tryOpen(d, o)
		wantCorrupt(t, err, name(1)+" offset", name(2)+", which follows here, is missing")
	}
	if unnoted == 0 {
		t.Error("no crash left the end of a segment unnoted")
	}
}

// TestAZeroedTailIsATornWrite: file systems leave zeroes where a length got to
// the disk and the bytes did not.
func TestAZeroedTailIsATornWrite(t *testing.T) {
	d := faultfs.New()
	options := segment.Options{SegmentBytes: 64 << 10}
	s := open(t, d, options)
	save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 3, 700), MustSync: true})
	end := s.Stats().Bytes
	save(t, s, raftlog.Update{Group: 1, Entries: entries(4, 3, 700)})
	d.Crash(faultfs.Crash{})
	for from := end / 512 * 512; from < end+3000; from += 512 {
		copied := d.Clone()
		rewrite(t, copied, name(1), func(b []byte) []byte { clear(b[max(from, end):]); return b })
		s, err := tryOpen(copied, options)
		if err != nil {
			t.Fatalf("zeroes from offset %d on: %v", max(from, end), err)
		}
		last, _ := s.View(1).LastIndex()
		if last != 3 && (last != 6 || from < end+2100) {
			t.Errorf("zeroes from offset %d on: LastIndex is %d", from, last)
		}
		wantEntries(t, s, 1, 1, int(last))
	}
}
