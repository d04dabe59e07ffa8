package ledger

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pinetree-db/pinetree"
)

// together is a store that knows which events are to be written with which keys.
type together struct {
	*Memory
	mu    sync.Mutex
	alone []string // keys that were written without their event
}

func (s *together) Swap(ctx context.Context, o Office, changes []Change) (int64, error) {
	s.mu.Lock()
	for _, c := range changes {
		told := func(e Change) bool {
			return strings.HasPrefix(e.Key, events) && strings.Contains(string(e.Value), fmt.Sprintf("%q", c.Key))
		}
		if strings.HasPrefix(c.Key, volumes) && !slices.ContainsFunc(changes, told) {
			s.alone = append(s.alone, c.Key)
		}
	}
	s.mu.Unlock()
	return s.Memory.Swap(ctx, o, changes)
}

// TestADecisionIsWrittenWithItsEvent: whatever else waits to be written, and when
// more comes at once than one write takes. Else a manager that is killed between
// the two has decided what nobody is ever told of.
func TestADecisionIsWrittenWithItsEvent(t *testing.T) {
	store := &together{Memory: NewMemory()}
	o := write(t, store, 2000)
	const decisions = 400
	var all sync.WaitGroup
	for i := range decisions {
		all.Go(func() {
			o.mu.Lock()
			for range 3 {
				o.events.Add(Event{Kind: "node_silent"})
			}
			o.mu.Unlock()
			o.scribe.Wake()
			v := Volume{ID: pinetree.VolumeID(i + 1)}
			err := o.scribe.Persist(t.Context(), func() (Decision, error) {
				return Decide(Event{Kind: "volume_placed", Cause: v.Key()}, Kept[Volume]{}.Put(v.Key(), v)), nil
			}, func(int64) {})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(store.alone) > 0 {
		t.Errorf("%d of %d were written without their events: %v", len(store.alone), decisions, store.alone)
	}
	waitFor(t, func() bool { return len(reopen(t, store).Events) == 4*decisions })
}
