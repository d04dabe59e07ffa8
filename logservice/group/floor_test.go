package group

import (
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
)

// TestTheLogAfterASnapshotOnItsWayIsKept though it was given up before the snapshot
// was ordered: the receiver would need another one.
func TestTheLogAfterASnapshotOnItsWayIsKept(t *testing.T) {
	r := &Replica{floor: 436}
	r.sending.to = map[pinetree.NodeID]*outbound{5: {index: 435, until: 10}, 6: {index: 440, until: 10}}
	for now, want := range map[lease.Instant]pinetree.RaftIndex{9: 435, 10: 436} {
		if r.now = now; r.Floor() != want {
			t.Errorf("at %d the log may go up to %d, want %d", now, r.Floor(), want)
		}
	}
}
