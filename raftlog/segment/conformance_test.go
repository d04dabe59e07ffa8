package segment_test

import (
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/disk/faultfs"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/raftlogtest"
	"github.com/pinetree-db/pinetree/raftlog/segment"
)

func TestConformance(t *testing.T) {
	for name, options := range map[string]segment.Options{
		"Defaults": {},
		// Rolls, deletes and moves all the time, and reads from the disk.
		"SmallSegments": {SegmentBytes: 2 << 10, CacheBytes: 1},
	} {
		t.Run(name, func(t *testing.T) {
			raftlogtest.Run(t, func(t *testing.T) raftlogtest.Open {
				return disk{Disk: faultfs.New(), options: options}.Open
			})
		})
		t.Run(name+"InBackground", func(t *testing.T) {
			raftlogtest.Run(t, func(t *testing.T) raftlogtest.Open {
				return disk{Disk: faultfs.New(), options: options, background: true}.Open
			})
		})
	}
}

// TestOnTheOperatingSystem does a little of everything on a real directory.
func TestOnTheOperatingSystem(t *testing.T) {
	dir, options := t.TempDir(), segment.Options{SegmentBytes: 16 << 10, CacheBytes: 1}
	next := pinetree.RaftIndex(1)
	for range 3 {
		s, err := segment.Open(dir, options)
		if err != nil {
			t.Fatal(err)
		}
		if next == 1 {
			save(t, s, raftlog.Update{Group: 1, Entries: entries(1, 50, 100), MustSync: true})
		}
		next = busy(t, s, 2, next, 30)
		wantEntries(t, s, 1, 1, 50)
		wantEntries(t, s, 2, next-9, 9)
		if st := s.Stats(); st.Segments > 8 {
			t.Errorf("%d segments, held by %s", st.Segments, st.Held)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
