package reign

import (
	"context"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// TestWhatAStoreDoesNotTakeIsNotBegunAgainAndAgain: every look finds the same to be
// done until it is recorded, and a store may be away for hours.
func TestWhatAStoreDoesNotTakeIsNotBegunAgainAndAgain(t *testing.T) {
	r := large(t, 6, 1)
	r.hands.Persist = func(ctx context.Context, _ func() (ledger.Decision, error), _ func(int64)) error {
		<-ctx.Done()
		return ctx.Err()
	}
	r.nodes[6].Is.Leaving = true // and has nothing
	now := r.cfg.Clock()
	for range 100 {
		now = now.Add(time.Minute)
		r.chores.news = true
		r.upkeep(now)
	}
	if r.tending != 1 || !r.chores.news {
		t.Errorf("%d tasks wait for the store, and one has something to do; it looks again: %v", r.tending, r.chores.news)
	}
}

// TestAListingCountsVolumesOfEachGroup: but not those that are being deleted.
func TestAListingCountsVolumesOfEachGroup(t *testing.T) {
	r := large(t, 3, 2)
	for id, v := range map[pinetree.VolumeID]ledger.Volume{1: {Group: 1}, 2: {Group: 1}, 3: {Group: 1, Deleted: true}, 4: {Group: 2}} {
		v.ID = id
		r.addVolume(ledger.Kept[ledger.Volume]{Is: v})
	}
	over := make(chan struct{})
	go func() { defer close(over); _ = r.Run() }()
	t.Cleanup(func() { <-over })
	list, err := r.ListGroups(t.Context(), &wirepb.ListGroupsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Groups) != 2 || list.Groups[0].Volumes != 2 || list.Groups[1].Volumes != 1 {
		t.Errorf("%v", list.Groups)
	}
}
