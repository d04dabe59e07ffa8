package segment_test

import (
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/disk/faultfs"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/segment"
)

const smallSegment = 16 << 10

// busy saves count rounds of ten entries of a group, from index first on, and
// compacts all but the newest.
func busy(t *testing.T, s *segment.Store, group pinetree.GroupID, first pinetree.RaftIndex, count int) pinetree.RaftIndex {
	t.Helper()
	for range count {
		save(t, s, raftlog.Update{Group: group, Entries: entries(first, 10, 200), MustSync: true})
		first += 10
		if err := s.Compact(group, first-10); err != nil {
			t.Fatal(err)
		}
	}
	return first
}

func TestSegmentsWithoutLiveEntriesAreDeleted(t *testing.T) {
	d := faultfs.New()
	s := open(t, d, segment.Options{SegmentBytes: smallSegment})
	busy(t, s, 1, 1, 100)
	if st := s.Stats(); st.Segments > 2 {
		t.Errorf("%d segments are left after everything was compacted, held by %s", st.Segments, st.Held)
	}
	if n := len(d.Files()); n > 2 {
		t.Errorf("%d files are left", n)
	}
}

func TestQuietGroupsDoNotPinOldSegments(t *testing.T) {
	d := faultfs.New()
	options := segment.Options{SegmentBytes: smallSegment, CacheBytes: 1}
	s := open(t, d, options)
	// Three groups write and go quiet, with a compaction, a hard state only,
	// and a removal among them.
	save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 40, 100)}, raftlog.Update{Group: 2, Entries: entries(1, 3, 5000)},
		raftlog.Update{Group: 3, Entries: entries(1, 5, 10), MustSync: true}, raftlog.Update{Group: 4, MustSync: true})
	if err := s.Compact(1, 7); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(3); err != nil {
		t.Fatal(err)
	}
	next, most := pinetree.RaftIndex(1), 0
	for round := range 20 {
		next = busy(t, s, 9, next, 15)
		most = max(most, s.Stats().Segments)
		wantEntries(t, s, 1, 8, 33)
		wantEntries(t, s, 2, 1, 3)
		if round%5 == 4 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, d, options)
		}
	}
	if st := s.Stats(); most > 8 || st.Oldest == "0000000000000001.raftlog" {
		t.Errorf("there were up to %d segments; the oldest is %s, held by %s", most, st.Oldest, st.Held)
	}
	if got := s.Groups(); len(got) != 4 {
		t.Errorf("Groups are %v", got)
	}
}

func TestMovingCopesWithGroupsThatChange(t *testing.T) {
	d := faultfs.New()
	options := segment.Options{SegmentBytes: smallSegment, CacheBytes: 1}
	s := open(t, d, options)
	save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 100, 100)}, raftlog.Update{Group: 2, Entries: entries(1, 100, 100), MustSync: true})
	next := busy(t, s, 9, 1, 25)
	// In the middle of being moved, one loses its end and one its beginning.
	save(t, s, raftlog.Update{Group: 1, Entries: entries(60, 1, 100), MustSync: true})
	if err := s.Compact(2, 50); err != nil {
		t.Fatal(err)
	}
	busy(t, s, 9, next, 150)
	for range 2 {
		wantEntries(t, s, 1, 1, 60)
		wantEntries(t, s, 2, 51, 50)
		if st := s.Stats(); st.Segments > 6 {
			t.Errorf("%d segments, held by %s", st.Segments, st.Held)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, d, options)
	}
}

func TestTheReasonWhyTheOldestSegmentStaysIsNamed(t *testing.T) {
	d := faultfs.New()
	s := open(t, d, segment.Options{SegmentBytes: smallSegment})
	if st := s.Stats(); st.Segments != 1 || st.Held != "" {
		t.Errorf("of an empty store: %+v", st)
	}
	save(t, s, raftlog.Update{Group: 5, Entries: entries(1, 100, 100)}, raftlog.Update{Group: 6, Entries: entries(1, 1, 100), MustSync: true})
	save(t, s, raftlog.Update{Group: 7, Entries: entries(1, 100, 100), MustSync: true})
	if err := s.Compact(5, 10); err != nil {
		t.Fatal(err)
	}
	st := s.Stats()
	if st.Segments != 2 || !strings.Contains(st.Held, "of 2 groups, most of group 5 from index 11 on") {
		t.Errorf("%d segments, held: %q", st.Segments, st.Held)
	}
	if st.LiveBytes < 191*100 || st.LiveBytes > 191*110 || st.Bytes < 201*100 {
		t.Errorf("%d bytes, %d of them live", st.Bytes, st.LiveBytes)
	}
	for group := pinetree.GroupID(5); group <= 6; group++ {
		if err := s.Compact(group, 100); err != nil {
			t.Fatal(err)
		}
		if err := s.Compact(group, 1); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats(); st.Segments != 2 || st.Held != "waits for the next sync" {
		t.Errorf("%d segments, held: %q", st.Segments, st.Held)
	}
	if err := s.Probe(); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Segments != 1 || st.Held != "" {
		t.Errorf("%d segments, held: %q", st.Segments, st.Held)
	}
}

func TestAnEntryThatCannotBeMovedHoldsItsSegment(t *testing.T) {
	d := faultfs.New()
	s := open(t, d, segment.Options{SegmentBytes: smallSegment, CacheBytes: 1})
	save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 10, 100), MustSync: true})
	if name := d.FlipBit(8 * 600); name != "0000000000000001.raftlog" {
		t.Fatalf("flipped a bit of %q", name)
	}
	busy(t, s, 9, 1, 200)
	st := s.Stats()
	if st.Oldest != "0000000000000001.raftlog" || !strings.Contains(st.Held, "cannot be read") {
		t.Errorf("oldest is %s, held: %q", st.Oldest, st.Held)
	}
	_, err := s.View(1).Entries(1, 11, 1<<20)
	wantCorrupt(t, err, "0000000000000001.raftlog offset")
}
