package upkeep

import (
	"fmt"
	"math"
	"time"
)

// free tells whether a leader may be moved for the sake of order: it is left alone
// for a time after any change, and where an operator has put it.
func (p *leaderPlanner) free(g *Group) bool {
	return g.Led && !g.Kept && !g.Changing && g.Settled >= p.rules.Calm
}

// trusts tells whether leaders may be moved to a replica for the sake of order.
func (p *leaderPlanner) trusts(r Replica, n *Node) bool {
	return n != nil && r.Unfit == "" && n.MayLead() && n.Steady >= p.rules.Trust
}

// idle tells that there is room for a move for the sake of order.
func (p *leaderPlanner) idle() bool { return p.moving < p.rules.Orders }

// goHome moves leaders into the home zones of their groups, to the node there
// that leads the least.
func (p *leaderPlanner) goHome() {
	for i := range p.cluster.Groups {
		g := &p.cluster.Groups[i]
		from := p.cluster.find(g.Leader)
		if from == nil || !from.MayLead() || away(g, from) == 0 {
			continue
		}
		var to *Node
		for _, r := range g.Replicas {
			n := p.cluster.find(r.Node)
			if n == nil || away(g, n) == 1 || g.Kept {
				continue
			}
			p.plan.Waits = true
			if p.trusts(r, n) && (to == nil || p.prefer(g, n, to) < 0) {
				to = n
			}
		}
		if to != nil && p.free(g) && p.idle() {
			p.move(Move{g.ID, from.ID, to.ID, fmt.Sprintf("zone %q is its home, and node %d there has been well for %v",
				to.Zone, to.ID, to.Steady.Truncate(time.Second))})
		}
	}
}

// balance evens out leaders over nodes, and over zones where that does not matter
// to the nodes.
//
// Let u lead at least two groups more than v. If a leader can be moved from u to
// v, it is. If only a chain u → … → w → v can, the shortest such chain is taken
// up from its end, with the leader from w to v: w and v have then just changed
// their counts, and the chain is shorter. So each chain ends in a smaller sum of
// the squares of all counts, and nothing goes back and forth.
func (p *leaderPlanner) balance() {
	unevenness := p.unevenness()
	if unevenness == 0 {
		return
	}
	p.plan.Waits = p.plan.Waits || unevenness > 1
	if len(p.plan.Moves) > 0 || !p.idle() {
		return
	}
	ways := p.ways()
	m, found := p.chain(ways)
	if !found {
		m, found = p.zoneSwap(ways)
	}
	if found {
		p.move(m)
		p.plan.Waits = true
	}
}

// unevenness is how many leaders one node has more than another.
func (p *leaderPlanner) unevenness() int {
	low, high := math.MaxInt, 0
	for i := range p.cluster.Nodes {
		if n := &p.cluster.Nodes[i]; n.MayLead() {
			low, high = min(low, p.leaders[n.ID]), max(high, p.leaders[n.ID])
		}
	}
	return max(0, high-low)
}

// nodePlace is where a node is in the cluster's list.
type nodePlace int

// way is from one node to another.
type way struct{ from, to int }

// ways are the leaders that may be moved from one node to another, by their places:
// one group for each pair, nil for none.
type ways [][]*Group

func (p *leaderPlanner) ways() ways {
	w := make(ways, len(p.cluster.Nodes))
	for i := range w {
		w[i] = make([]*Group, len(p.cluster.Nodes))
	}
	for i := range p.cluster.Groups {
		g := &p.cluster.Groups[i]
		from := p.cluster.place(g.Leader)
		if from < 0 || !p.free(g) {
			continue
		}
		source := &p.cluster.Nodes[from]
		for _, r := range g.Replicas {
			to := p.cluster.place(r.Node)
			if to < 0 || to == from || !source.MayLead() || !p.trusts(r, &p.cluster.Nodes[to]) {
				continue
			}
			if w[from][to] == nil && away(g, &p.cluster.Nodes[to]) <= away(g, source) {
				w[from][to] = g
			}
		}
	}
	return w
}

func (p *leaderPlanner) count(place int) int { return p.leaders[p.cluster.Nodes[place].ID] }

// chain finds the last step of the shortest chain between two nodes whose counts
// differ by two or more, the largest difference first.
func (p *leaderPlanner) chain(w ways) (Move, bool) {
	var best struct {
		length, gain int
		last         way
	}
	look := func(source int, length, last []int) {
		for to := range w {
			gain := p.count(source) - p.count(to)
			if length[to] == 0 || gain < 2 {
				continue
			}
			if best.length == 0 || length[to] < best.length || length[to] == best.length && gain > best.gain {
				best.length, best.gain, best.last = length[to], gain, way{last[to], to}
			}
		}
	}
	for _, most := range []int{1, len(w)} { // longer chains cost more to find, and are rarely needed
		for source := range w {
			length, last := w.reach(nodePlace(source), most)
			look(source, length, last)
		}
		if best.length > 0 {
			return p.step(w, best.last, "leaders are evened out over the nodes"), true
		}
	}
	return Move{}, false
}

// reach walks from a node along the ways, the nearest first, up to most steps. It
// returns how many steps each node is away, zero for those that are not reached,
// and from which node the last step is.
func (w ways) reach(source nodePlace, most int) (length, last []int) {
	length, last = make([]int, len(w)), make([]int, len(w))
	queue := []int{int(source)}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		if length[at] == most {
			return length, last
		}
		for to, g := range w[at] {
			if g != nil && to != int(source) && length[to] == 0 {
				length[to], last[to] = length[at]+1, at
				queue = append(queue, to)
			}
		}
	}
	return length, last
}

// zoneSwap lets two nodes change their counts, which differ by one, where that
// evens out the leaders per node of their zones.
func (p *leaderPlanner) zoneSwap(w ways) (Move, bool) {
	nodes, leaders := map[string]int{}, map[string]int{}
	for i := range p.cluster.Nodes {
		if n := &p.cluster.Nodes[i]; n.MayLead() {
			nodes[n.Zone]++
			leaders[n.Zone] += p.leaders[n.ID]
		}
	}
	for from := range w {
		for to, g := range w[from] {
			if g == nil || p.count(from)-p.count(to) != 1 {
				continue
			}
			// The sum of leaders²/nodes over the zones is to become smaller.
			a, b := p.cluster.Nodes[from].Zone, p.cluster.Nodes[to].Zone
			if a != b && (2*leaders[b]+1)*nodes[a] < (2*leaders[a]-1)*nodes[b] {
				return p.step(w, way{from, to}, "leaders are evened out over the zones"), true
			}
		}
	}
	return Move{}, false
}

func (p *leaderPlanner) step(w ways, along way, why string) Move {
	a, b := &p.cluster.Nodes[along.from], &p.cluster.Nodes[along.to]
	return Move{w[along.from][along.to].ID, a.ID, b.ID, fmt.Sprintf("%s: node %d leads %d, and node %d leads %d",
		why, a.ID, p.leaders[a.ID], b.ID, p.leaders[b.ID])}
}
