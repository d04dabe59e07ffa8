package ledger

import (
	"context"
	"sync"
	"testing"
	"time"
)

// sizes is a store that remembers how many changes each write had.
type sizes struct {
	*Memory
	mu    sync.Mutex
	swaps []int
}

func (s *sizes) Swap(ctx context.Context, o Office, changes []Change) (int64, error) {
	s.mu.Lock()
	s.swaps = append(s.swaps, len(changes))
	s.mu.Unlock()
	return s.Memory.Swap(ctx, o, changes)
}

// TestADecisionDoesNotWaitForTheWriteOfAnEvent: an event that comes shortly before
// a decision is written with it. One try of several will do, for a busy machine
// may let the event's time pass before.
func TestADecisionDoesNotWaitForTheWriteOfAnEvent(t *testing.T) {
	store := &sizes{Memory: NewMemory()}
	o := write(t, store, 100)
	cluster := Kept[Cluster]{}
	for try := range 10 {
		o.mu.Lock()
		o.events.Add(Event{Kind: "released"})
		o.mu.Unlock()
		o.scribe.Wake()
		time.Sleep(eventPause / 10)
		err := o.scribe.Persist(t.Context(), func() (Decision, error) {
			return Decision{Changes: []Change{cluster.Put(ClusterKey, Cluster{ID: string(rune('a' + try))})}}, nil
		}, func(revision int64) { cluster.Revision = revision })
		if err != nil {
			t.Fatal(err)
		}
		store.mu.Lock()
		last := store.swaps[len(store.swaps)-1]
		store.mu.Unlock()
		if last == 2 {
			return
		}
	}
	t.Fatalf("the writes had %v changes; an event and a decision are two", store.swaps)
}
