package e2e

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// fault is one kind of trouble; a refused order is as good as a carried out one.
type fault struct {
	name  string
	share int // how often it happens, relative to the others
	do    func(random *rand.Rand, n *node, group uint64)
}

func (c *cluster) faults() []fault {
	// Mostly long enough for another leader to serve meanwhile.
	long := func(random *rand.Rand) { time.Sleep(time.Duration(1000+random.IntN(2500)) * time.Millisecond) }
	return []fault{
		{"partition", 2, func(random *rand.Rand, n *node, _ uint64) {
			c.isolate(n, true)
			long(random)
			c.isolate(n, false)
		}},
		{"one-way partition", 2, func(random *rand.Rand, n *node, _ uint64) {
			hears := random.IntN(2) == 0
			for _, other := range c.nodes {
				if from, to := n.host, other.host; other != n && hears {
					c.network.set(to, from, true)
				} else if other != n {
					c.network.set(from, to, true)
				}
			}
			long(random)
			c.isolate(n, false)
		}},
		{"move", 3, func(_ *rand.Rand, _ *node, group uint64) {
			_, _ = c.manages().MoveLeader(c.within(3*time.Second), &wirepb.MoveLeaderRequest{Group: group})
		}},
		{"replacement", 1, func(random *rand.Rand, n *node, group uint64) { c.replace(random, n, group) }},
		{"kill or pause", 4, func(random *rand.Rand, n *node, _ uint64) { c.harmNode(random, n) }},
		{"kill of the manager", 1, func(random *rand.Rand, _ *node, _ uint64) {
			c.manager.kill()
			time.Sleep(time.Duration(random.IntN(500)) * time.Millisecond)
			c.manager.start()
		}},
	}
}

// replace gives a group another node in the place of one of its own.
func (c *cluster) replace(random *rand.Rand, out *node, group uint64) {
	info, err := c.show(group)
	if err != nil || !slices.Contains(info.Voters, uint64(out.id)) {
		return
	}
	others := slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return slices.Contains(info.Voters, uint64(n.id)) })
	if len(others) == 0 {
		return
	}
	_, _ = c.manages().ChangeReplicas(c.within(5*time.Second), &wirepb.ChangeReplicasRequest{
		Group: group, Add: uint64(others[random.IntN(len(others))].id), Remove: uint64(out.id),
	})
}

// trouble does bad things to nodes, half of them to the leader, until ctx ends. It
// returns how often it did what.
func (c *cluster) trouble(ctx context.Context, random *rand.Rand, group uint64) map[string]int {
	done := map[string]int{}
	var turns []fault
	for _, f := range c.faults() {
		for range f.share {
			turns = append(turns, f)
		}
	}
	for ctx.Err() == nil {
		n := c.nodes[random.IntN(len(c.nodes))]
		if leader, err := c.leader(group); err == nil && random.IntN(2) == 0 {
			n = leader
		}
		f := turns[random.IntN(len(turns))]
		f.do(random, n, group)
		done[f.name]++
		time.Sleep(300 * time.Millisecond)
	}
	return done
}
