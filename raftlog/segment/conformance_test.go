package segment_test

import (
	"testing"

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
				dir := t.TempDir()
				return func() (raftlog.Store, error) { return segment.Open(dir, options) }
			})
		})
	}
}
