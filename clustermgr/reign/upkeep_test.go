package reign

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// large begins a reign over many nodes and groups whose leaders are where they
// should be.
func large(tb testing.TB, nodes, groups int) *Reign {
	ctx, cancel := context.WithCancel(tb.Context())
	tb.Cleanup(cancel)
	store := ledger.NewMemory()
	office, err := store.Campaign(ctx, "here")
	if err != nil {
		tb.Fatal(err)
	}
	put := func(c ledger.Change) {
		if _, err := store.Swap(ctx, office, []ledger.Change{c}); err != nil {
			tb.Fatal(err)
		}
	}
	for id := range nodes {
		n := ledger.Node{ID: pinetree.NodeID(id + 1), Instance: fmt.Sprint(id), Address: "127.0.0.1:1", Zone: string(rune('a' + id%3))}
		put(ledger.Kept[ledger.Node]{}.Put(n.Key(), n))
	}
	member := func(group, at int) pinetree.NodeID { return pinetree.NodeID((group+at*7)%nodes + 1) }
	for id := range groups {
		g := ledger.Group{ID: pinetree.GroupID(id + 1), Created: true, Lease: lease.Record{
			Appointment: 1, Node: member(id, 0), Holder: member(id, 0), Held: 1, Term: 2,
		}}
		for at := range 3 {
			g.Voters = append(g.Voters, member(id, at))
		}
		put(ledger.Kept[ledger.Group]{}.Put(g.Key(), g))
	}
	cfg, err := Config{Store: store, Address: "here", Log: slog.New(slog.NewTextHandler(io.Discard, nil))}.WithDefaults()
	if err != nil {
		tb.Fatal(err)
	}
	r, err := Begin(ctx, cfg, office)
	if err != nil {
		tb.Fatal(err)
	}
	for _, n := range r.nodes {
		n.replicas = map[pinetree.GroupID]*wirepb.ReplicaStatus{}
	}
	for id := range groups {
		for at := range 3 {
			r.nodes[member(id, at)].replicas[pinetree.GroupID(id+1)] = &wirepb.ReplicaStatus{
				Leader: at == 0, Appointment: 1, RaftTerm: 2, LastTerm: 2, LastIndex: 9, Committed: 9, Applied: 9,
			}
		}
	}
	return r
}

// TestUpkeepRestsWhileNothingHappens: in a cluster that is in order it takes one
// look, and none after it until something has changed.
func TestUpkeepRestsWhileNothingHappens(t *testing.T) {
	r := large(t, 6, 60)
	r.led = r.leading()
	now := r.cfg.Clock()
	r.notify()
	r.upkeep(now)
	if r.chores.news || r.chores.waits || r.operations != 0 {
		t.Fatalf("after a look: %+v, %d operations", r.chores, r.operations)
	}
	looked := r.chores.next
	later := looked.Add(time.Millisecond)
	if r.upkeep(later); r.chores.next != looked {
		t.Error("it looked again, and nothing had happened")
	}
	r.notify()
	if r.upkeep(now.Add(time.Millisecond)); r.chores.next != looked {
		t.Error("it looked again at once")
	}
	if r.upkeep(later); r.chores.next == looked {
		t.Error("it did not look again")
	}
}

func BenchmarkUpkeepOfALargeCluster(b *testing.B) {
	r := large(b, 50, 5000)
	r.led = r.leading()
	now := r.cfg.Clock()
	for b.Loop() {
		r.chores.news, r.chores.next = true, 0
		r.upkeep(now)
	}
}
