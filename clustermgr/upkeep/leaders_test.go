package upkeep

import (
	"reflect"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
)

// three are nodes in zones a, b and c.
func three(change func(nodes []Node)) []Node {
	nodes := []Node{{ID: 1, Zone: "a", Steady: time.Hour}, {ID: 2, Zone: "b", Steady: time.Hour}, {ID: 3, Zone: "c", Steady: time.Hour}}
	if change != nil {
		change(nodes)
	}
	return nodes
}

// group is one on nodes 1 to 3 that node leads.
func led(id pinetree.GroupID, leader pinetree.NodeID, changes ...func(*Group)) Group {
	g := Group{ID: id, Created: true, Leader: leader, Led: true, Settled: time.Hour, Replicas: []Replica{{Node: 1}, {Node: 2}, {Node: 3}}}
	for _, change := range changes {
		change(&g)
	}
	return g
}

// cluster counts leaders and replicas.
func cluster(nodes []Node, groups ...Group) Cluster {
	c := Cluster{Nodes: nodes, Groups: groups}
	for _, g := range groups {
		if n := c.find(g.Leader); n != nil {
			n.Leaders++
		}
		for _, r := range g.Replicas {
			c.find(r.Node).Replicas++
		}
	}
	return c
}

var rules = LeaderRules{Drains: 2, Again: 2 * time.Second, Orders: 1, Calm: time.Minute, Trust: 30 * time.Second}

func TestLeadersAreMovedOffANodeThatDrains(t *testing.T) {
	draining := func(nodes []Node) { nodes[0].Draining = true }
	home := func(zone string) func(*Group) { return func(g *Group) { g.Home = zone } }
	for name, tc := range map[string]struct {
		c    Cluster
		want []Move
		note string
	}{
		"nothing drains": {cluster(three(nil), led(1, 1), led(2, 2), led(3, 3)), nil, ""},
		"a few at once": {
			cluster(three(draining), led(1, 1), led(2, 1), led(3, 1), led(4, 2)),
			[]Move{{1, 1, 3, "node 1 is draining"}, {2, 1, 2, "node 1 is draining"}}, "3 leaders are still to be moved",
		},
		"what is under way counts": {
			cluster(three(draining), led(1, 1, func(g *Group) { g.Led, g.Moving = false, true }), led(2, 1), led(3, 1)),
			[]Move{{2, 1, 2, "node 1 is draining"}}, "3 leaders are still to be moved",
		},
		"the home zone before the load": {
			cluster(three(draining), led(1, 1, home("b")), led(2, 2)),
			[]Move{{1, 1, 2, "node 1 is draining"}}, "one leader is still to be moved",
		},
		"not right after a move": {
			cluster(three(draining), led(1, 1, func(g *Group) { g.Settled = time.Second })), nil, "one leader is still to be moved",
		},
		"nobody else can": {
			cluster(three(func(n []Node) {
				draining(n)
				n[1].Quarantined, n[2].Health = true, policy.Dead
			}), led(7, 1)), nil,
			"one leader is still to be moved; group 7 stays: node 2 is in quarantine, node 3 is dead",
		},
		"nobody else is fit": {
			cluster(three(draining), led(7, 1, func(g *Group) { g.Replicas[1].Unfit, g.Replicas[2].Unfit = "behind", "blank" })), nil,
			"one leader is still to be moved; group 7 stays: node 2: behind, node 3: blank",
		},
		"one that leaves drains": {
			cluster(three(func(n []Node) { n[0].Leaving = true }), led(1, 1)),
			[]Move{{1, 1, 2, "node 1 is leaving the cluster"}}, "one leader is still to be moved",
		},
		"a group without a leader is not moved": {cluster(three(draining), led(1, 0)), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			plan := Leaders(tc.c, rules)
			if !reflect.DeepEqual(plan.Moves, tc.want) || plan.Notes[1] != tc.note || plan.Urgent != (tc.note != "") {
				t.Errorf("moves %v, note %q, urgent %v; want %v, %q", plan.Moves, plan.Notes[1], plan.Urgent, tc.want, tc.note)
			}
		})
	}
}
