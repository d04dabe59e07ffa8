package e2e

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/metaclient"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/meta"
)

// windowSpanRead reads nothing but the revision.
func windowSpanRead() meta.RangeSpec { return meta.RangeSpec{Span: meta.Span{Key: []byte("cells/")}} }

// metaFaultTime is how long metadata is used under faults.
func metaFaultTime() time.Duration {
	if full() {
		return 10 * time.Minute
	}
	return 3 * time.Second
}

// TestMetadata drives the gateway with curl, and then checks transactions on several
// keys and reads for linearizability, and watches for gaps and repetitions, while
// nodes are killed, paused and cut off, leaders move and history is compacted.
func TestMetadata(t *testing.T) {
	beside(t)
	c := emptyCluster(t)
	c.http = true
	c.fill(3)
	volume := c.createVolume("meta", pinetree.FormatOpaque)
	c.mustLeader(volume.Group)
	t.Run("curl", func(t *testing.T) { curlMeta(t, c) })
	cells := c.createVolume("cells", pinetree.FormatOpaque)
	t.Run("faults", func(t *testing.T) { c.metaUnderFaults(t, cells.Group) })
}

func (c *cluster) metaUnderFaults(t *testing.T, group uint64) {
	h := newMetaHistory()
	seed := uint64(h.began.UnixNano())
	t.Logf("seed %d", seed)
	base := c.client("cells")
	client := func(cfg ship.ReadConfig) *metaclient.Client { return metaclient.New(base, cfg) }
	ctx, cancel := context.WithTimeout(context.Background(), metaFaultTime())
	defer cancel()
	after, stop := context.WithCancel(context.Background()) // those that go on a little longer
	defer stop()
	var users, watching sync.WaitGroup
	for id := range 4 {
		swapper := client(ship.ReadConfig{})
		users.Go(func() { h.swap(ctx, id, swapper) })
	}
	for id := 1; id <= 3; id++ {
		node := pinetree.NodeID(id)
		users.Go(func() { h.read(ctx, 10+id, client(ship.ReadConfig{Level: pinetree.ReadDefault, Node: node})) })
		users.Go(func() { h.read(ctx, 20+id, client(ship.ReadConfig{Level: pinetree.ReadConsistent, Node: node})) })
	}
	followers := []*follower{{client: client(anyReplica)}, {client: client(anyReplica)}, {client: client(ship.ReadConfig{Level: pinetree.ReadStale, Node: 2})}}
	for _, f := range followers {
		watching.Go(func() { f.follow(after) })
	}
	var compactions int
	users.Go(func() { compactions = compactMeta(ctx, client(ship.ReadConfig{}), 300) })
	users.Go(func() {
		for tick := time.NewTicker(time.Second); ctx.Err() == nil; {
			select {
			case <-ctx.Done():
			case <-tick.C:
				h.mu.Lock()
				h.window++
				h.mu.Unlock()
			}
		}
	})
	done := c.trouble(ctx, rand.New(rand.NewPCG(seed, 7)), group)
	users.Wait()
	last, err := client(ship.ReadConfig{}).Range(c.within(20*time.Second), windowSpanRead())
	if err != nil {
		t.Fatal(err)
	}
	caughtUp(followers, last.Revision)
	stop()
	watching.Wait()
	h.check(t)
	for n, f := range followers {
		h.checkFollower(t, []string{"the first watch", "the second watch", "the watch of node 2"}[n], f, last.Revision)
	}
	t.Logf("%d swaps, %d succeeded, %d unknown; reads %v; revision %d, %d compactions; watches begun anew %d, %d, %d times; faults %v",
		h.swaps, h.succeeded, h.unknown, h.levels, last.Revision, compactions, followers[0].again, followers[1].again, followers[2].again, done)
	if h.succeeded == 0 || h.levels[pinetree.ReadConsistent] == 0 || h.levels[pinetree.ReadDefault] == 0 {
		t.Error("a kind of operation was never answered, so this run shows nothing of it")
	}
}
