package ship

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/picker"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// condition is how a fake node is as a server of reads.
type condition struct {
	slow time.Duration // before each answer
	load uint32
	// stale is how old its state may be as it knows, and down, behind what the
	// manager says of it.
	stale  time.Duration
	down   bool
	behind time.Duration
	old    bool // a build that knows nothing of staleness
}

// prove does what a node does with the bound of a stale read.
func (c condition) prove(o *wirepb.ReadOptions, served *wirepb.Served) error {
	bound := time.Duration(o.GetMaxStaleMs()) * time.Millisecond
	switch {
	case c.old:
	case o.GetLevel() != wirepb.ReadLevel_STALE:
		served.StaleMs = proto.Uint32(0)
	case bound == 0:
	case c.stale > bound:
		return fmt.Errorf("%w: this replica cannot tell", pinetree.ErrNoLease)
	default:
		served.StaleMs = proto.Uint32(uint32(c.stale.Milliseconds()))
	}
	return nil
}

func (c condition) route(id pinetree.NodeID) *wirepb.ReplicaRoute {
	return &wirepb.ReplicaRoute{Node: uint64(id), Serves: !c.down, BehindMs: uint32(c.behind.Milliseconds())}
}

// dawdle takes the time that a slow node takes.
func (n *fakeNode) dawdle(ctx context.Context) {
	n.world.mu.Lock()
	slow := n.condition.slow
	n.world.mu.Unlock()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
		}
	}
}

// asked is how many reads each node has begun to answer.
func (w *world) asked() (counts [3]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range counts {
		counts[i] = w.nodes[i].reads
	}
	return counts
}

func in(zone int) func(*Config) {
	return func(cfg *Config) { cfg.Zone = fmt.Sprintf("zone-%d", zone) }
}

func TestStaleReadsGoToTheNearestReplicaThatIsFreshEnough(t *testing.T) {
	stale := ReadConfig{Level: pinetree.ReadStale}
	bounded := ReadConfig{Level: pinetree.ReadStale, MaxStaleness: time.Second}
	for name, test := range map[string]struct {
		condition condition // of node 2, in the reader's zone
		cfg       ReadConfig
		nearest   bool // it serves
		asked     bool // it is asked at all
	}{
		"up to date":             {condition{}, stale, true, true},
		"down":                   {condition{down: true}, stale, false, false},
		"behind, which is fine":  {condition{behind: 3 * time.Second}, stale, true, true},
		"behind the bound":       {condition{behind: 3 * time.Second}, bounded, false, false},
		"within the bound":       {condition{stale: 900 * time.Millisecond}, bounded, true, true},
		"refuses the bound":      {condition{stale: 1100 * time.Millisecond}, bounded, false, true},
		"does not know of it":    {condition{old: true}, bounded, false, true},
		"behind, for consistent": {condition{behind: time.Second}, ReadConfig{Level: pinetree.ReadConsistent}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			fill(w, 3)
			w.change(func() { w.nodes[1].condition = test.condition })
			state, err := w.dial(func(cfg *Config) {
				in(2)(cfg)
				// Nobody is slow here, but for the machine: that is no reason to ask another.
				cfg.AttemptTimeout, cfg.ConnectTimeout, cfg.Hedge.Off = patience, patience, true
			}).Reader(test.cfg).State(within(t))
			must(t, err)
			if nearest := state.Node == 2; nearest != test.nearest {
				t.Errorf("node %d served", state.Node)
			}
			if asked := w.asked()[1] > 0; asked != test.asked {
				t.Errorf("node 2 was asked: %v", asked)
			}
			if state.Stale > test.cfg.MaxStaleness || test.cfg.MaxStaleness > 0 && state.Stale < 0 {
				t.Errorf("%v stale, the bound is %v", state.Stale, test.cfg.MaxStaleness)
			}
		})
	}
}

func TestABoundThatNobodyCanKeepIsRefused(t *testing.T) {
	w := newWorld(t)
	fill(w, 3)
	w.change(func() {
		for i, n := range w.nodes {
			n.condition = condition{stale: time.Minute, old: i == 0}
		}
	})
	c := w.dial(func(cfg *Config) { cfg.RetryFor = 300 * time.Millisecond })
	_, err := c.Reader(ReadConfig{Level: pinetree.ReadStale, MaxStaleness: time.Second}).State(within(t))
	if err == nil || !strings.Contains(err.Error(), "cannot tell") || !strings.Contains(err.Error(), "does not say that it is at most 1s behind") {
		t.Errorf("got %v", err)
	}
}

// latencies reads so many times and returns how long each took, sorted.
func latencies(t *testing.T, r *Reader, count int) []time.Duration {
	t.Helper()
	var list []time.Duration
	for range count {
		began := time.Now()
		_, err := r.State(within(t))
		must(t, err)
		list = append(list, time.Since(began))
	}
	slices.Sort(list)
	return list
}

// TestOneSlowReplicaDoesNotRaiseThe99thPercentile makes the replica of the
// reader's own zone, which is asked first whatever it is like, slow now and then.
func TestOneSlowReplicaDoesNotRaiseThe99thPercentile(t *testing.T) {
	const reads, slow = 400, 150 * time.Millisecond
	run := func(hedge picker.Hedging) (p99 time.Duration, extra int) {
		w := newWorld(t)
		fill(w, 3)
		c := w.dial(func(cfg *Config) { in(2)(cfg); cfg.Hedge = hedge })
		r := c.Reader(ReadConfig{Level: pinetree.ReadStale})
		latencies(t, r, 50)
		before := w.asked()
		var all []time.Duration
		for i := range reads {
			w.change(func() { w.nodes[1].condition.slow = 0 })
			if i%25 == 0 {
				w.change(func() { w.nodes[1].condition.slow = slow })
			}
			all = append(all, latencies(t, r, 1)...)
		}
		slices.Sort(all)
		after := w.asked()
		return all[len(all)*99/100], after[0] + after[2] - before[0] - before[2]
	}
	if p99, _ := run(picker.Hedging{Off: true}); p99 < slow {
		t.Errorf("without hedging, p99 is %v: the test shows nothing", p99)
	}
	if p99, extra := run(picker.Hedging{}); p99 > slow/2 || extra == 0 || extra > reads/10+10 {
		t.Errorf("p99 is %v, and %d of %d reads went to other zones", p99, extra, reads)
	}
}

func TestHedgesAreNotMoreThanTheirShare(t *testing.T) {
	w := newWorld(t)
	fill(w, 3)
	w.change(func() {
		for _, n := range w.nodes {
			n.condition.slow = 5 * time.Millisecond
		}
	})
	c := w.dial(func(cfg *Config) { cfg.Hedge = picker.Hedging{Delay: time.Millisecond, Percent: 5} })
	const reads = 300
	latencies(t, c.Reader(ReadConfig{Level: pinetree.ReadConsistent}), reads)
	asked := w.asked()
	sum := asked[0] + asked[1] + asked[2]
	if sum < reads+10 || sum > reads+10+reads*5/100 {
		t.Errorf("%d reads became %d, where 10 and 5 %% more are allowed", reads, sum)
	}
}

func TestASlowReplicaIsLeftForAnother(t *testing.T) {
	w := newWorld(t)
	fill(w, 3)
	w.change(func() { w.nodes[2].condition.slow = 50 * time.Millisecond })
	r := w.dial(nil).Reader(ReadConfig{Level: pinetree.ReadStale})
	latencies(t, r, 100)
	if asked := w.asked(); asked[2] > 20 {
		t.Errorf("of 100 reads, the slow node was asked %d", asked[2])
	}
}

func TestRoutesAreRefreshedWhileReadsFlow(t *testing.T) {
	w := newWorld(t)
	fill(w, 3)
	c := w.dial(func(cfg *Config) { in(2)(cfg); cfg.RouteEvery = 20 * time.Millisecond })
	r := c.Reader(ReadConfig{Level: pinetree.ReadStale})
	latencies(t, r, 1)
	w.change(func() { w.nodes[1].condition.down = true })
	deadline := time.Now().Add(patience)
	for {
		state, err := r.State(within(t))
		must(t, err)
		if state.Node != 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("reads still go to a node that the manager knows to be down")
		}
		time.Sleep(time.Millisecond)
	}
	w.managers[0].stop()
	t.Cleanup(func() { w.managers[0].restart() })
	for range 20 {
		state, err := r.State(within(t))
		if err != nil || state.Node == 2 {
			t.Fatalf("without managers, served by %d: %v", state.Node, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
