package picker

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
)

var start = time.Unix(1_000, 0)

func three(change func([]Replica)) *Picker {
	list := []Replica{{Node: 1, Zone: "a", Serves: true}, {Node: 2, Zone: "b", Serves: true}, {Node: 3, Zone: "c", Serves: true}}
	if change != nil {
		change(list)
	}
	random := rand.New(rand.NewPCG(1, 2))
	p := New(random.IntN)
	p.Route(list, start)
	return p
}

// firsts counts who comes first in many orders, and checks that everybody is in
// each of them.
func firsts(t *testing.T, p *Picker, w Wish, now time.Time) map[pinetree.NodeID]int {
	t.Helper()
	count := map[pinetree.NodeID]int{}
	for range 300 {
		order := p.Order(w, now)
		if sorted := slices.Sorted(slices.Values(order)); !slices.Equal(sorted, []pinetree.NodeID{1, 2, 3}) {
			t.Fatalf("order %v", order)
		}
		count[order[0]]++
	}
	return count
}

func TestTheNearestFreshEnoughReplicaComesFirst(t *testing.T) {
	behind := func(node int, d time.Duration) func([]Replica) {
		return func(l []Replica) { l[node-1].Behind, l[node-1].Applied = d, 100 }
	}
	for name, test := range map[string]struct {
		change func([]Replica)
		wish   Wish
		after  time.Duration
		want   []pinetree.NodeID // may come first
	}{
		"own zone":                           {nil, Wish{Zone: "b"}, 0, []pinetree.NodeID{2}},
		"no zone":                            {nil, Wish{}, 0, []pinetree.NodeID{1, 2, 3}},
		"a zone without a replica":           {nil, Wish{Zone: "x"}, 0, []pinetree.NodeID{1, 2, 3}},
		"does not serve":                     {func(l []Replica) { l[1].Serves = false }, Wish{Zone: "b"}, 0, []pinetree.NodeID{1, 3}},
		"did not serve long ago":             {func(l []Replica) { l[1].Serves = false }, Wish{Zone: "b"}, time.Minute, []pinetree.NodeID{2}},
		"behind, and it does not matter":     {behind(2, 5*time.Second), Wish{Zone: "b"}, 0, []pinetree.NodeID{2}},
		"behind for too long for anybody":    {behind(2, time.Minute), Wish{Zone: "b"}, 0, []pinetree.NodeID{1, 3}},
		"staler than wished":                 {behind(2, 5*time.Second), Wish{Zone: "b", Stale: time.Second}, 0, []pinetree.NodeID{1, 3}},
		"behind by less than can be told":    {behind(2, 400*time.Millisecond), Wish{Zone: "b", Stale: time.Millisecond}, 0, []pinetree.NodeID{2}},
		"older than the LSN":                 {behind(2, time.Second), Wish{Zone: "b", MinLSN: 101}, 0, []pinetree.NodeID{1, 3}},
		"behind and has the LSN":             {behind(2, time.Second), Wish{Zone: "b", MinLSN: 100}, 0, []pinetree.NodeID{2}},
		"up to date with an older LSN known": {behind(2, 0), Wish{Zone: "b", MinLSN: 101}, 0, []pinetree.NodeID{2}},
		"one is to be spared":                {nil, Wish{Spare: 2}, 0, []pinetree.NodeID{1, 3}},
		"the nearest is to be spared":        {nil, Wish{Zone: "b", Spare: 2}, 0, []pinetree.NodeID{2}},
	} {
		t.Run(name, func(t *testing.T) {
			count := firsts(t, three(test.change), test.wish, start.Add(test.after))
			for _, node := range test.want {
				if count[node] < 60 {
					t.Errorf("node %d comes first %d times of 300: %v", node, count[node], count)
				}
				delete(count, node)
			}
			if len(count) > 0 {
				t.Errorf("these came first, too: %v", count)
			}
		})
	}
}

func TestThoseThatAreNotFitAreAskedLast(t *testing.T) {
	p := three(func(l []Replica) { l[0].Behind = time.Minute })
	p.Begin(2)
	p.Failed(2, start)
	if order := p.Order(Wish{Zone: "b"}, start); !slices.Equal(order, []pinetree.NodeID{3, 1, 2}) {
		t.Errorf("order %v", order)
	}
}

// TestTheSparedNodeComesBeforeThoseThatAreNotFit lets each of the others be worse
// than busy.
func TestTheSparedNodeComesBeforeThoseThatAreNotFit(t *testing.T) {
	p := three(func(l []Replica) { l[2].Behind = time.Minute })
	p.Begin(1)
	p.Failed(1, start)
	if order := p.Order(Wish{Spare: 2}, start); !slices.Equal(order, []pinetree.NodeID{2, 3, 1}) {
		t.Errorf("order %v", order)
	}
}

func TestLatencyThenReadsUnderWayThenLoadDecide(t *testing.T) {
	serve := func(p *Picker, node pinetree.NodeID, took time.Duration) {
		p.Begin(node)
		p.Served(node, 0, took, start)
	}
	for name, test := range map[string]struct {
		prepare func(*Picker)
		want    func(map[pinetree.NodeID]int) bool
	}{
		"a slow one": {func(p *Picker) {
			serve(p, 1, time.Millisecond)
			serve(p, 3, time.Millisecond)
			serve(p, 2, 50*time.Millisecond)
		}, func(c map[pinetree.NodeID]int) bool { return c[2] == 0 && c[1] > 100 && c[3] > 100 }},
		"a little slower is noise": {func(p *Picker) {
			serve(p, 1, time.Millisecond)
			serve(p, 3, time.Millisecond)
			serve(p, 2, 1900*time.Microsecond)
		}, func(c map[pinetree.NodeID]int) bool { return c[2] > 60 }},
		"one late answer of many is noise": {func(p *Picker) {
			for range 20 {
				serve(p, 1, time.Millisecond)
				serve(p, 2, time.Millisecond)
				serve(p, 3, time.Millisecond)
			}
			serve(p, 2, 3*time.Millisecond)
		}, func(c map[pinetree.NodeID]int) bool { return c[2] > 60 }},
		"many reads under way":            {func(p *Picker) { p.Begin(2) }, func(c map[pinetree.NodeID]int) bool { return c[2] == 0 }},
		"one that nobody waited for":      {func(p *Picker) { p.Begin(2); p.Left(2, 30*time.Millisecond, start) }, func(c map[pinetree.NodeID]int) bool { return c[2] == 0 }},
		"left early, which tells nothing": {func(p *Picker) { serve(p, 2, time.Millisecond); p.Begin(2); p.Left(2, time.Microsecond, start) }, func(c map[pinetree.NodeID]int) bool { return c[2] > 60 }},
		"a failed one":                    {func(p *Picker) { p.Begin(2); p.Failed(2, start) }, func(c map[pinetree.NodeID]int) bool { return c[2] == 0 }},
		"one that failed and served since": {func(p *Picker) { p.Begin(2); p.Failed(2, start); serve(p, 2, time.Millisecond) },
			func(c map[pinetree.NodeID]int) bool { return c[2] > 60 }},
	} {
		p := three(nil)
		test.prepare(p)
		if count := firsts(t, p, Wish{}, start); !test.want(count) {
			t.Errorf("%s: %v", name, count)
		}
	}
	loaded := three(func(l []Replica) { l[0].Load, l[1].Load, l[2].Load = 100, 900, 150 })
	if count := firsts(t, loaded, Wish{}, start); count[2] != 0 || count[1] < 60 || count[3] < 60 {
		t.Errorf("a loaded one: %v", count)
	}
}

func TestWhatWasMeasuredIsForgotten(t *testing.T) {
	p := three(nil)
	p.Begin(2)
	p.Served(2, 0, 50*time.Millisecond, start)
	p.Begin(1)
	for range 3 {
		p.Begin(1)
		p.Failed(1, start)
	}
	p.Failed(1, start)
	if count := firsts(t, p, Wish{}, start.Add(7*time.Second)); count[3] != 300 {
		t.Errorf("after 7 s: %v", count)
	}
	if count := firsts(t, p, Wish{}, start.Add(2*time.Minute)); count[1] < 60 || count[2] < 60 {
		t.Errorf("after two minutes: %v", count)
	}
	p.Begin(3)
	p.Served(3, 500, time.Millisecond, start)
	p.Route([]Replica{{Node: 4, Serves: true}}, start)
	if len(p.measure) != 0 || !slices.Equal(p.Order(Wish{}, start), []pinetree.NodeID{4}) {
		t.Errorf("nodes that are gone are remembered: %v", p.measure)
	}
}

func TestHedgesStayWithinTheirBudget(t *testing.T) {
	h := NewHedger(Hedging{Percent: 5})
	spent := 0
	for range 10_000 {
		h.Begin()
		if h.Spend() {
			spent++
		}
	}
	if spent < 490 || spent > 500+burst {
		t.Errorf("%d of 10,000 reads were sent twice, the budget is 5 %%", spent)
	}
	for range 10_000 {
		h.Begin()
	}
	saved := 0
	for saved < 1_000 && h.Spend() {
		saved++
	}
	if saved != burst {
		t.Errorf("%d were saved", saved)
	}
	if _, on := NewHedger(Hedging{Off: true}).Begin(); on {
		t.Error("off is on")
	}
	if d, _ := NewHedger(Hedging{Delay: time.Second}).Begin(); d != time.Second {
		t.Errorf("delay %v", d)
	}
}

func TestTheDelayIsWhatMostReadsTook(t *testing.T) {
	h := NewHedger(Hedging{})
	feed := func(count int, late time.Duration) time.Duration {
		for i := range count {
			if i%20 < 18 {
				h.Took(late / 10)
			} else {
				h.Took(late)
			}
		}
		d, _ := h.Begin()
		return d
	}
	if d := feed(10, time.Second); d != firstDelay {
		t.Errorf("after ten reads: %v", d)
	}
	for _, late := range []time.Duration{80 * time.Millisecond, 5 * time.Millisecond} {
		if d := feed(2*samples, late); d != late {
			t.Errorf("95 of 100 take %v at most, the delay is %v", late, d)
		}
	}
	if d := feed(2*samples, 10*time.Microsecond); d != leastWait {
		t.Errorf("the delay is %v, the least is %v", d, leastWait)
	}
}
