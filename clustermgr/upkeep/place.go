package upkeep

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
)

// maxWords bounds what a list in words names.
const maxWords = 6

// refuses says why a node takes no replica of a group, or nothing.
func (g *Group) refuses(n *Node) string {
	switch {
	case n.Health != policy.Alive || n.Leaving || n.Draining || n.Quarantined:
		return n.condition()
	case n.Full != "":
		return "is low on space: " + n.Full
	case slices.Contains(g.Former, n.ID):
		return "still has files of its former replica"
	}
	return ""
}

// zones counts the voters of a group by zone, but for one.
func (p *replicaPlanner) zones(g *Group, not pinetree.NodeID) map[string]int {
	count := map[string]int{}
	for _, r := range g.Replicas {
		if n := p.cluster.find(r.Node); n != nil && r.Votes && r.Node != not {
			count[n.Zone]++
		}
	}
	return count
}

// place picks the node that is to have a replica instead of another: from the zone
// with the fewest voters, the home zone before its equals, and in it the node with
// the fewest replicas. A node that is getting as many as it may is waited for when
// no other is in as good a zone. Without a node it says why.
func (p *replicaPlanner) place(g *Group, instead pinetree.NodeID) (*Node, string) {
	zones := p.zones(g, instead)
	var best, free *Node
	var refused []string
	for i := range p.cluster.Nodes {
		n := &p.cluster.Nodes[i]
		if slices.ContainsFunc(g.Replicas, func(r Replica) bool { return r.Node == n.ID }) {
			continue
		}
		if why := g.refuses(n); why != "" {
			refused = append(refused, fmt.Sprintf("node %d %s", n.ID, why))
			continue
		}
		if best == nil || p.better(g, zones, n, best) {
			best = n
		}
		if p.adding[n.ID] < p.rules.PerNode && (free == nil || p.better(g, zones, n, free)) {
			free = n
		}
	}
	switch {
	case best == nil && len(refused) == 0:
		return nil, fmt.Sprintf("all %d nodes have a replica already; start another node", len(p.cluster.Nodes))
	case best == nil:
		return nil, "no node can take it: " + list(refused)
	case free == nil || zones[free.Zone] > zones[best.Zone]:
		return nil, fmt.Sprintf("node %d is getting %s, which is the limit for one node", best.ID, many(p.adding[best.ID], "replica", "replicas"))
	}
	return free, ""
}

func (p *replicaPlanner) better(g *Group, zones map[string]int, a, b *Node) bool {
	return cmp.Or(
		cmp.Compare(zones[a.Zone], zones[b.Zone]),
		cmp.Compare(away(g, a), away(g, b)),
		cmp.Compare(p.load[a.ID], p.load[b.ID]),
		cmp.Compare(a.ID, b.ID),
	) < 0
}

// list names the first few of many.
func list(words []string) string {
	if len(words) > maxWords {
		words = append(slices.Clone(words[:maxWords]), fmt.Sprintf("and %d more", len(words)-maxWords))
	}
	return strings.Join(words, ", ")
}

// weigh looks at where all replicas are, from time to time, and begins to move at
// most one: only when nothing is wrong, for each move costs a snapshot.
func (p *replicaPlanner) weigh() {
	if len(p.plan.Changes) > 0 || p.changes > 0 {
		return
	}
	calm, left := p.calm()
	if left = max(left, p.rules.Pace-p.cluster.Weighed); !calm {
		return
	}
	if left > 0 {
		p.due(left)
		return
	}
	p.plan.Weighed = true
	if c, found := p.spread(); found {
		p.begin(c)
	} else if c, found := p.balance(); found {
		p.begin(c)
	}
}

// calm tells whether nothing is wrong, and after how long it will have been so for
// long enough.
func (p *replicaPlanner) calm() (bool, time.Duration) {
	var left time.Duration
	for _, n := range p.cluster.Nodes {
		if n.Health != policy.Alive || n.Leaving || n.Draining || n.Quarantined {
			return false, 0
		}
		left = max(left, p.rules.Calm-n.Steady)
	}
	for _, g := range p.cluster.Groups {
		if !g.Created || g.Changing || g.Leader == 0 {
			return false, 0
		}
		for _, r := range g.Replicas {
			if !r.Votes || p.loss(r).why != "" {
				return false, 0
			}
		}
	}
	return true, left
}

// spread finds a group of which a zone has two voters more than another one could
// have, and moves one there.
func (p *replicaPlanner) spread() (ReplicaChange, bool) {
	all := map[string]bool{}
	for _, n := range p.cluster.Nodes {
		all[n.Zone] = true
	}
	for i := range p.cluster.Groups {
		g := &p.cluster.Groups[i]
		zones := p.zones(g, 0)
		if len(zones) == len(g.Replicas) || len(all) == 1 {
			continue // one in each
		}
		from := slices.MaxFunc(g.Replicas, func(a, b Replica) int { return p.surplus(g, zones, a, b) })
		n := p.cluster.find(from.Node)
		to, _ := p.place(g, from.Node)
		if to == nil || zones[n.Zone]-zones[to.Zone] < 2 {
			continue
		}
		c := policy.Change{Add: to.ID, Remove: n.ID}
		if p.obstacle(g, c) == "" {
			return ReplicaChange{Group: g.ID, Change: c, Why: fmt.Sprintf("zone %q has %d of its replicas and zone %q has %d", n.Zone, zones[n.Zone], to.Zone, zones[to.Zone])}, true
		}
	}
	return ReplicaChange{}, false
}

// surplus compares which of two replicas is rather to go: from the zone with most
// of them, not the leader's, from the node with most.
func (p *replicaPlanner) surplus(g *Group, zones map[string]int, a, b Replica) int {
	return cmp.Or(
		cmp.Compare(zones[p.cluster.find(a.Node).Zone], zones[p.cluster.find(b.Node).Zone]),
		cmp.Compare(follows(g, a.Node), follows(g, b.Node)),
		cmp.Compare(p.load[a.Node], p.load[b.Node]),
		cmp.Compare(a.Node, b.Node),
	)
}

// follows is 1 for a node that does not lead the group.
func follows(g *Group, id pinetree.NodeID) int {
	if g.Leader == id {
		return 0
	}
	return 1
}

// balance moves a replica from a node that has far more than another one to that,
// where the spread over zones does not suffer. Far is a quarter of the fair share,
// and at least three.
func (p *replicaPlanner) balance() (ReplicaChange, bool) {
	total, most := 0, 0
	for _, n := range p.cluster.Nodes {
		total += p.load[n.ID]
		most = max(most, p.load[n.ID])
	}
	if total == 0 {
		return ReplicaChange{}, false
	}
	far := max(3, (total/len(p.cluster.Nodes)+3)/4)
	least := slices.DeleteFunc(slices.Clone(p.cluster.Nodes), func(n Node) bool { return p.load[n.ID]+far > most })
	if len(least) == 0 {
		return ReplicaChange{}, false
	}
	var best ReplicaChange
	var gain int
	for i := range p.cluster.Groups {
		g := &p.cluster.Groups[i]
		for _, r := range g.Replicas {
			for j := range least {
				to := &least[j]
				// A follower is rather moved than a leader.
				if step := 2*(p.load[r.Node]-p.load[to.ID]) + follows(g, r.Node); step > gain && step >= 2*far && p.fits(g, r.Node, to) {
					best, gain = ReplicaChange{
						Group: g.ID, Change: policy.Change{Add: to.ID, Remove: r.Node},
						Why: fmt.Sprintf("node %d has %d replicas and node %d has %d", r.Node, p.load[r.Node], to.ID, p.load[to.ID]),
					}, step
				}
			}
		}
	}
	return best, gain > 0
}

// fits tells whether a replica can move without harm to the spread over zones.
func (p *replicaPlanner) fits(g *Group, from pinetree.NodeID, to *Node) bool {
	if slices.ContainsFunc(g.Replicas, func(r Replica) bool { return r.Node == to.ID }) || g.refuses(to) != "" {
		return false
	}
	here := p.cluster.find(from).Zone
	zones := p.zones(g, 0)
	if here != to.Zone && (zones[to.Zone] >= zones[here] || here == g.Home && zones[here] == 1) {
		return false
	}
	return p.obstacle(g, policy.Change{Add: to.ID, Remove: from}) == ""
}
