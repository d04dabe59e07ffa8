package upkeep

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/pinetree-db/pinetree"
)

// LeaderRules bound the moves of leaders.
type LeaderRules struct {
	// Drains is how many leaders may be moved off draining nodes at once, and
	// Again how long after a change of leaders, or a move that failed.
	Drains int
	Again  time.Duration
	// Orders is how many leaders may be moved at once for the sake of order: home
	// zones and balance. Calm is how long such a leader must have been where it
	// is, and Trust how long the node that it goes to must have been well.
	Orders      int
	Calm, Trust time.Duration
}

// Move is a leader that is to be moved now.
type Move struct {
	Group    pinetree.GroupID
	From, To pinetree.NodeID
	Why      string
}

// LeaderPlan is what is to be done about leaders now.
type LeaderPlan struct {
	Moves []Move
	// Urgent tells that nodes still drain, and Waits that leaders are not where
	// they should be: more is to be done later, though nothing may happen until
	// then.
	Urgent, Waits bool
	// Notes say of draining nodes what is left to be done.
	Notes map[pinetree.NodeID]string
}

// Leaders says which leaders are to be moved now. Nodes that drain or leave lose
// theirs, a few at a time. When nothing of that can be done, leaders return to
// their home zones, and when all that can are there, they are evened out over
// nodes and zones: one after the other, for nobody waits for it.
//
// Every move makes the cluster better by that order, so that plans that are
// carried out one after the other come to an end when nothing else happens.
func Leaders(c Cluster, rules LeaderRules) LeaderPlan {
	p := leaderPlanner{
		cluster: c, rules: rules, plan: LeaderPlan{Notes: map[pinetree.NodeID]string{}},
		leaders: map[pinetree.NodeID]int{},
	}
	for _, n := range c.Nodes {
		p.leaders[n.ID] = n.Leaders
	}
	for _, g := range c.Groups {
		if g.Moving {
			p.moving++
		}
	}
	p.drain()
	p.goHome()
	p.balance()
	return p.plan
}

// leaderPlanner plans the moves of leaders.
type leaderPlanner struct {
	cluster Cluster
	rules   LeaderRules
	leaders map[pinetree.NodeID]int // once what is planned is done
	moving  int                     // with what is planned
	plan    LeaderPlan
}

func (p *leaderPlanner) move(m Move) {
	p.plan.Moves = append(p.plan.Moves, m)
	p.leaders[m.From]--
	p.leaders[m.To]++
	p.moving++
}

// drain moves leaders off nodes that are to lead nothing.
func (p *leaderPlanner) drain() {
	left := map[pinetree.NodeID]int{}
	stuck := map[pinetree.NodeID]string{}
	for i := range p.cluster.Groups {
		g := &p.cluster.Groups[i]
		from := p.cluster.find(g.Leader)
		if from == nil || !from.Draining && !from.Leaving {
			continue
		}
		left[from.ID]++
		p.plan.Urgent = true
		if !g.Led || g.Settled < p.rules.Again || p.moving >= p.rules.Drains {
			continue
		}
		to, why := p.target(g)
		if to == nil {
			stuck[from.ID] = fmt.Sprintf("group %d stays: %s", g.ID, why)
			continue
		}
		p.move(Move{g.ID, from.ID, to.ID, fmt.Sprintf("node %d %s", from.ID, from.condition())})
	}
	for id, count := range left {
		note := fmt.Sprintf("%d leaders are still to be moved", count)
		if count == 1 {
			note = "one leader is still to be moved"
		}
		if why := stuck[id]; why != "" {
			note += "; " + why
		}
		p.plan.Notes[id] = note
	}
}

// target picks who is to lead the group instead: in the home zone if there is
// one, with the fewest leaders. Without one it says why.
func (p *leaderPlanner) target(g *Group) (*Node, string) {
	var best *Node
	var refused []string
	for _, r := range g.Replicas {
		n := p.cluster.find(r.Node)
		switch {
		case r.Node == g.Leader:
		case n == nil:
			refused = append(refused, fmt.Sprintf("node %d is not known", r.Node))
		case !n.MayLead():
			refused = append(refused, fmt.Sprintf("node %d %s", n.ID, n.condition()))
		case r.Unfit != "":
			refused = append(refused, fmt.Sprintf("node %d: %s", n.ID, r.Unfit))
		case best == nil || p.prefer(g, n, best) < 0:
			best = n
		}
	}
	if best == nil && len(refused) == 0 {
		refused = []string{"it has no other replica"}
	}
	return best, strings.Join(refused, ", ")
}

func (p *leaderPlanner) prefer(g *Group, a, b *Node) int {
	return cmp.Or(
		cmp.Compare(away(g, a), away(g, b)),
		cmp.Compare(p.leaders[a.ID], p.leaders[b.ID]),
		cmp.Compare(a.ID, b.ID),
	)
}

// away is 1 for a node that is not in the group's home zone.
func away(g *Group, n *Node) int {
	if g.Home != "" && g.Home != n.Zone {
		return 1
	}
	return 0
}

// condition says why a node may not lead.
func (n *Node) condition() string {
	switch {
	case n.Leaving:
		return "is leaving the cluster"
	case n.Draining:
		return "is draining"
	case n.Quarantined:
		return "is in quarantine"
	}
	return "is " + n.Health.String()
}
