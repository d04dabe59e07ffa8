package upkeep

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
)

func TestLeadersReturnToTheirHomeZones(t *testing.T) {
	away := func(changes ...func(*Group)) Group {
		return led(1, 1, append(changes, func(g *Group) { g.Home = "b" })...)
	}
	for name, tc := range map[string]struct {
		c     Cluster
		want  pinetree.NodeID
		waits bool
	}{
		"when all is well":                {cluster(three(nil), away()), 2, true},
		"not to a node that was ill":      {cluster(three(func(n []Node) { n[1].Steady = 29 * time.Second }), away()), 0, true},
		"not to one in quarantine":        {cluster(three(func(n []Node) { n[1].Quarantined = true }), away()), 0, true},
		"not to one that drains":          {cluster(three(func(n []Node) { n[1].Draining = true }), away()), 0, true},
		"not to one that is silent":       {cluster(three(func(n []Node) { n[1].Health = policy.Silent }), away()), 0, true},
		"not to one that lags":            {cluster(three(nil), away(func(g *Group) { g.Replicas[1].Unfit = "behind" })), 0, true},
		"not soon after another move":     {cluster(three(nil), away(func(g *Group) { g.Settled = 59 * time.Second })), 0, true},
		"not while members are changed":   {cluster(three(nil), away(func(g *Group) { g.Changing = true })), 0, true},
		"not against an operator's word":  {cluster(three(nil), away(func(g *Group) { g.Kept = true })), 0, false},
		"not while another one is moving": {cluster(three(nil), away(), led(2, 2, func(g *Group) { g.Led, g.Moving = false, true })), 0, true},
		"not those that are there":        {cluster(three(nil), led(1, 2, func(g *Group) { g.Home = "b" })), 0, false},
		"not without a replica there":     {cluster(three(nil), led(1, 1, func(g *Group) { g.Home = "z" })), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			plan := Leaders(tc.c, rules)
			var to pinetree.NodeID
			for _, m := range plan.Moves {
				to = m.To
			}
			if to != tc.want || plan.Waits != tc.waits || plan.Urgent || len(plan.Moves) > 1 {
				t.Errorf("moves %v, waits %v; want to node %d, %v", plan.Moves, plan.Waits, tc.want, tc.waits)
			}
		})
	}
}

// on restricts a group to replicas on some nodes.
func on(nodes ...pinetree.NodeID) func(*Group) {
	return func(g *Group) {
		g.Replicas = nil
		for _, id := range nodes {
			g.Replicas = append(g.Replicas, Replica{Node: id})
		}
	}
}

func TestLeadersAreEvenedOut(t *testing.T) {
	four := []Node{
		{ID: 1, Zone: "a", Steady: time.Hour}, {ID: 2, Zone: "a", Steady: time.Hour},
		{ID: 3, Zone: "b", Steady: time.Hour}, {ID: 4, Zone: "b", Steady: time.Hour},
	}
	for name, tc := range map[string]struct {
		c    Cluster
		want string
	}{
		"over nodes": {cluster(three(nil), led(1, 1), led(2, 1), led(3, 2)), "group 1 from 1 to 3: leaders are evened out over the nodes: node 1 leads 2, and node 3 leads 0"},
		"by a chain": {
			cluster(three(nil), led(1, 1, on(1, 2)), led(2, 1, on(1, 2)), led(3, 2, on(2, 3))),
			"group 3 from 2 to 3: leaders are evened out over the nodes: node 2 leads 1, and node 3 leads 0",
		},
		"never by one":               {cluster(three(nil), led(1, 1), led(2, 2)), ""},
		"nobody out of its home":     {cluster(three(nil), led(1, 1, func(g *Group) { g.Home = "a" }), led(2, 1, func(g *Group) { g.Home = "a" })), ""},
		"nobody soon after a move":   {cluster(three(nil), led(1, 1, func(g *Group) { g.Settled = 0 }), led(2, 1, func(g *Group) { g.Settled = 0 })), ""},
		"nobody that is kept":        {cluster(three(nil), led(1, 1, func(g *Group) { g.Kept = true }), led(2, 1, func(g *Group) { g.Kept = true })), ""},
		"over zones where it is one": {cluster(slices.Clone(four), led(1, 1, on(1, 3)), led(2, 2, on(2, 4))), "group 1 from 1 to 3: leaders are evened out over the zones: node 1 leads 1, and node 3 leads 0"},
	} {
		t.Run(name, func(t *testing.T) {
			var found []string
			for _, m := range Leaders(tc.c, rules).Moves {
				found = append(found, fmt.Sprintf("group %d from %d to %d: %s", m.Group, m.From, m.To, m.Why))
			}
			if got := strings.Join(found, "; "); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// random makes a cluster in any state.
func random(r *rand.Rand) Cluster {
	var nodes []Node
	for id := range 3 + r.IntN(8) {
		n := Node{ID: pinetree.NodeID(id + 1), Zone: string(rune('a' + r.IntN(4))), Steady: time.Hour}
		switch r.IntN(12) {
		case 0:
			n.Draining = true
		case 1:
			n.Leaving = true
		case 2:
			n.Quarantined = true
		case 3:
			n.Health = policy.Dead
		case 4:
			n.Steady = time.Second
		}
		nodes = append(nodes, n)
	}
	var groups []Group
	for id := range r.IntN(60) {
		var members []pinetree.NodeID
		for _, at := range r.Perm(len(nodes))[:1+2*r.IntN(2)] {
			members = append(members, nodes[at].ID)
		}
		g := led(pinetree.GroupID(id+1), members[0], on(members...))
		if r.IntN(2) == 0 {
			g.Home = string(rune('a' + r.IntN(4)))
		}
		for i := range g.Replicas {
			if r.IntN(10) == 0 {
				g.Replicas[i].Unfit = "behind"
			}
		}
		g.Kept = r.IntN(10) == 0
		groups = append(groups, g)
	}
	return cluster(nodes, groups...)
}

// carryOut makes the moves of a plan at once.
func carryOut(c *Cluster, moves []Move) {
	for _, m := range moves {
		at := slices.IndexFunc(c.Groups, func(g Group) bool { return g.ID == m.Group })
		c.Groups[at].Leader = m.To
		c.find(m.From).Leaders--
		c.find(m.To).Leaders++
	}
}

// wrong says what is wrong with a move in a cluster, or nothing.
func wrong(c Cluster, m Move) string {
	at := slices.IndexFunc(c.Groups, func(g Group) bool { return g.ID == m.Group })
	g, from, to := c.Groups[at], c.find(m.From), c.find(m.To)
	replica := slices.IndexFunc(g.Replicas, func(r Replica) bool { return r.Node == m.To })
	switch drained := from.Draining || from.Leaving; {
	case m.From != g.Leader || m.From == m.To:
		return "its leader is not there"
	case replica < 0 || g.Replicas[replica].Unfit != "":
		return "the target cannot lead it"
	case to.Draining || to.Leaving || to.Quarantined || to.Health != policy.Alive:
		return "the target is not to lead"
	case drained:
		return ""
	case g.Kept:
		return "an operator has put it there"
	case to.Steady < rules.Trust:
		return "the target was ill lately"
	case from.Zone == g.Home && to.Zone != g.Home:
		return "it leaves its home"
	}
	return ""
}

// unfinished says what is left to be done in a cluster in which nothing is
// planned any more, or nothing.
func unfinished(c Cluster) string {
	for _, g := range c.Groups {
		from := c.find(g.Leader)
		for _, r := range g.Replicas {
			m := Move{Group: g.ID, From: from.ID, To: r.Node}
			if r.Node == g.Leader || wrong(c, m) != "" || from.Health != policy.Alive || from.Quarantined {
				continue
			}
			to := c.find(r.Node)
			switch {
			case from.Draining || from.Leaving:
				return fmt.Sprintf("group %d is left on node %d, which drains", g.ID, from.ID)
			case g.Home == to.Zone && from.Zone != g.Home:
				return fmt.Sprintf("group %d could go home to node %d", g.ID, to.ID)
			case from.Leaders-to.Leaders > 1:
				return fmt.Sprintf("node %d leads %d, node %d leads %d, and group %d could be moved", from.ID, from.Leaders, to.ID, to.Leaders, g.ID)
			}
		}
	}
	return ""
}

// TestPlansComeToAnEndInOrder carries plans out, one after the other, in clusters
// in which nothing else happens.
func TestPlansComeToAnEndInOrder(t *testing.T) {
	seeds := uint64(3000)
	if testing.Short() {
		seeds = 300
	}
	most := 0
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 1))
		c := random(r)
		steps := 0
		for {
			plan := Leaders(c, rules)
			if len(plan.Moves) == 0 {
				break
			}
			for _, m := range plan.Moves {
				if why := wrong(c, m); why != "" {
					t.Fatalf("seed %d: group %d from node %d to %d (%s): %s", seed, m.Group, m.From, m.To, m.Why, why)
				}
			}
			carryOut(&c, plan.Moves)
			if steps++; steps > 4*len(c.Groups)+4 {
				t.Fatalf("seed %d: %d plans for %d groups, and no end; the last is %v", seed, steps, len(c.Groups), plan.Moves)
			}
		}
		if why := unfinished(c); why != "" {
			t.Fatalf("seed %d: after %d plans %s", seed, steps, why)
		}
		most = max(most, steps)
	}
	if most < 10 {
		t.Errorf("the longest way was %d plans, which shows little", most)
	}
}

// TestEveryNodeGetsItsShare: where any leader can go anywhere, counts differ by one
// at the most in the end, of nodes and of zones per node.
func TestEveryNodeGetsItsShare(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		var nodes []Node
		var all []pinetree.NodeID
		zones := 1 + r.IntN(3)
		for id := range zones * (1 + r.IntN(3)) {
			nodes = append(nodes, Node{ID: pinetree.NodeID(id + 1), Zone: string(rune('a' + id%zones)), Steady: time.Hour})
			all = append(all, pinetree.NodeID(id+1))
		}
		var groups []Group
		for id := range r.IntN(50) {
			groups = append(groups, led(pinetree.GroupID(id+1), all[r.IntN(1+r.IntN(len(all)))], on(all...)))
		}
		c := cluster(nodes, groups...)
		steps := 0
		for plan := Leaders(c, rules); len(plan.Moves) > 0; plan = Leaders(c, rules) {
			if steps++; steps > 200 {
				t.Fatalf("seed %d: no end after %d plans: %v", seed, steps, plan.Moves)
			}
			carryOut(&c, plan.Moves)
		}
		counts, perZone := map[pinetree.NodeID]int{}, map[string]int{}
		for _, n := range c.Nodes {
			counts[n.ID] = n.Leaders
			perZone[n.Zone] += n.Leaders
		}
		if spread(counts) > 1 || spread(perZone) > 1 {
			t.Fatalf("seed %d: leaders by node %v, by zone %v", seed, counts, perZone)
		}
	}
}

func spread[K comparable](counts map[K]int) int {
	low, high := 1<<30, 0
	for _, n := range counts {
		low, high = min(low, n), max(high, n)
	}
	return high - low
}

// TestNobodyIsMovedBackAndForth: a node that comes and goes gets no leader by upkeep,
// and no leader is moved twice within the time that it is to be left alone.
func TestNobodyIsMovedBackAndForth(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 3))
		c := random(r)
		flickers := r.IntN(len(c.Nodes))
		changed := make([]time.Duration, len(c.Groups)) // when each leader was last moved
		for i := range changed {
			changed[i] = -time.Hour
		}
		since := time.Duration(0)
		for now := time.Duration(0); now < 10*time.Minute; now += time.Second {
			if now%(20*time.Second) == 0 {
				since = now
				c.Nodes[flickers].Health = [...]policy.Health{policy.Alive, policy.Dead}[now/(20*time.Second)%2]
			}
			c.Nodes[flickers].Steady = now - since
			for i := range c.Groups {
				c.Groups[i].Settled = now - changed[i]
			}
			plan := Leaders(c, rules)
			for _, m := range plan.Moves {
				from := c.find(m.From)
				at := slices.IndexFunc(c.Groups, func(g Group) bool { return g.ID == m.Group })
				if c.place(m.To) == flickers && !from.Draining && !from.Leaving {
					t.Fatalf("seed %d, %v: group %d is moved to node %d, which comes and goes", seed, now, m.Group, m.To)
				}
				if moved := changed[at]; now-moved < rules.Calm && !from.Draining && !from.Leaving {
					t.Fatalf("seed %d: group %d is moved at %v and at %v", seed, m.Group, moved, now)
				}
				changed[at] = now
			}
			carryOut(&c, plan.Moves)
		}
	}
}

func BenchmarkLeadersOfALargeCluster(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	var nodes []Node
	for id := range 50 {
		nodes = append(nodes, Node{ID: pinetree.NodeID(id + 1), Zone: string(rune('a' + id%3)), Steady: time.Hour})
	}
	var groups []Group
	for id := range 5000 {
		at := r.Perm(50)
		groups = append(groups, led(pinetree.GroupID(id+1), nodes[at[0]].ID, on(nodes[at[0]].ID, nodes[at[1]].ID, nodes[at[2]].ID)))
	}
	c := cluster(nodes, groups...)
	for b.Loop() {
		Leaders(c, rules)
	}
}
