package ship

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// TestTailEndsNoEarlierAtAnotherReplica breaks a tail that does not follow, and
// looks at what the next replica is asked for.
func TestTailEndsNoEarlierAtAnotherReplica(t *testing.T) {
	w := newWorld(t)
	made := fill(w, 20)
	end := made[len(made)-1].LSN
	var asked []pinetree.LSN
	for _, n := range w.nodes {
		n.tailFault = func(q *wirepb.TailRequest, _ *wirepb.TailResponse) error {
			asked = append(asked, pinetree.LSN(q.Options.MinLsn))
			if len(asked) == 2 {
				return pinetree.ErrStopped
			}
			return nil
		}
	}
	got, err := collect(t, w.dial(nil).Reader(ReadConfig{Level: pinetree.ReadStale}), 0)
	must(t, err)
	same(t, got, made)
	for i, lsn := range asked {
		if want := end; i < 2 && lsn != 0 || i >= 2 && lsn != want {
			t.Errorf("answer %d was asked for with %s at least, want %s after the first replica", i, lsn, want)
		}
	}
}

func TestTailAsksForWhatIsCommitted(t *testing.T) {
	w := newWorld(t)
	fill(w, 4)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	for _, n := range w.nodes {
		n.tailFault = func(q *wirepb.TailRequest, _ *wirepb.TailResponse) error {
			if !q.Committed || !q.Follow || q.Options.MinLsn != 0 {
				t.Errorf("asked %v", q)
			}
			return nil
		}
	}
	_, err := w.dial(nil).Reader(ReadConfig{}).Tail(ctx, TailQuery{Follow: true, Committed: true}, func(pinetree.Record) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestTailGoesWhereThereIsRoom lets all nodes but one refuse more tails.
func TestTailGoesWhereThereIsRoom(t *testing.T) {
	for _, refusal := range []error{pinetree.ErrOverQuota, pinetree.ErrQueueFull} {
		w := newWorld(t)
		made := fill(w, 6)
		for _, n := range w.nodes {
			if n.id != 3 {
				n.tailFault = func(*wirepb.TailRequest, *wirepb.TailResponse) error {
					return fmt.Errorf("%w: 5 tails, 5 allowed", refusal)
				}
			}
		}
		got, err := collect(t, w.dial(nil).Reader(ReadConfig{Level: pinetree.ReadStale}), 0)
		must(t, err)
		same(t, got, made)
	}
}

// TestTailsSpareTheLeader opens tails where the leader, node 1, is as near as the
// others, where it is the nearest, and where no other has room.
func TestTailsSpareTheLeader(t *testing.T) {
	for name, test := range map[string]struct {
		zone  int
		cfg   ReadConfig
		full  bool
		leads bool // the leader serves
	}{
		"stale":                    {cfg: ReadConfig{Level: pinetree.ReadStale}},
		"consistent":               {cfg: ReadConfig{Level: pinetree.ReadConsistent}},
		"beside the leader":        {zone: 1, cfg: ReadConfig{Level: pinetree.ReadStale}, leads: true},
		"beside another one":       {zone: 2, cfg: ReadConfig{Level: pinetree.ReadStale}},
		"others have no room":      {cfg: ReadConfig{Level: pinetree.ReadStale}, full: true, leads: true},
		"default, only the leader": {leads: true},
		"the leader by name":       {cfg: ReadConfig{Level: pinetree.ReadStale, Node: 1}, leads: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			made := fill(w, 3)
			var mu sync.Mutex
			served := map[pinetree.NodeID]int{}
			for _, n := range w.nodes {
				n.tailFault = func(*wirepb.TailRequest, *wirepb.TailResponse) error {
					if test.full && n.id != 1 {
						return fmt.Errorf("%w: 5 tails, 5 allowed", pinetree.ErrQueueFull)
					}
					mu.Lock()
					defer mu.Unlock()
					served[n.id]++
					return nil
				}
			}
			for range 10 {
				got, err := collect(t, w.dial(in(test.zone)).Reader(test.cfg), 0)
				must(t, err)
				same(t, got, made)
			}
			if others := served[2] + served[3]; test.leads && others > 0 || !test.leads && served[1] > 0 {
				t.Errorf("served by %v", served)
			}
		})
	}
}
