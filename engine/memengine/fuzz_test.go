package memengine

import (
	"errors"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// FuzzRestoredBatches reads what the chunks of a snapshot carry.
func FuzzRestoredBatches(f *testing.F) {
	b, err := storepb.EncodeBatch(1, 1, []pinetree.Record{{LSN: 9, Payload: []byte("payload")}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.Encoded, uint64(9))
	f.Add([]byte(nil), uint64(0))
	f.Fuzz(func(t *testing.T, data []byte, end uint64) {
		r := &restore{data: data, at: pinetree.Position{Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{
			1: {LSN: pinetree.LSN(end), Format: pinetree.FormatRedo},
		}}}
		volumes, err := r.volumes()
		if err != nil {
			if !errors.Is(err, pinetree.ErrCorrupt) {
				t.Fatalf("%v, want ErrCorrupt", err)
			}
			return
		}
		var last pinetree.LSN
		if v := volumes[1]; v != nil {
			for _, b := range v.log {
				if b.Prev != last {
					t.Fatalf("batch (%s, %s] after %s", b.Prev, b.LSN, last)
				}
				last = b.LSN
			}
		}
		if last != pinetree.LSN(end) {
			t.Fatalf("the log ends at %s, %s was believed", last, pinetree.LSN(end))
		}
	})
}
