package upkeep

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
)

// zoned are nodes that live, one for each letter, which is its zone.
func zoned(zones string, change func(nodes []Node)) []Node {
	var nodes []Node
	for i, zone := range zones {
		nodes = append(nodes, Node{ID: pinetree.NodeID(i + 1), Zone: string(zone), Lasting: time.Hour, Steady: time.Hour})
	}
	if change != nil {
		change(nodes)
	}
	return nodes
}

// formed is a group with voters on these nodes, led by the first.
func formed(id pinetree.GroupID, nodes []pinetree.NodeID, changes ...func(*Group)) Group {
	g := Group{ID: id, Created: true, Leader: nodes[0], Led: true, Settled: time.Hour}
	for _, n := range nodes {
		g.Replicas = append(g.Replicas, Replica{Node: n, Votes: true})
	}
	for _, change := range changes {
		change(&g)
	}
	return g
}

func at(nodes ...pinetree.NodeID) []pinetree.NodeID { return nodes }

// weighed is a cluster of which the balance was just looked at.
func weighed(c Cluster) Cluster { c.Weighed = time.Hour; return c }

func dead(id int, since time.Duration) func([]Node) {
	return func(n []Node) { n[id-1].Health, n[id-1].Lasting, n[id-1].Steady = policy.Dead, since, since }
}

func TestReplicasAreReplaced(t *testing.T) {
	changing := func(g *Group) {
		g.Changing, g.Change, g.Cause, g.Replaces = true, policy.Change{Add: 4, Remove: 3}, "node 3 is dead", true
		g.Replicas = append(g.Replicas, Replica{Node: 4})
	}
	for name, tc := range map[string]struct {
		c     Cluster
		want  string // the change and why
		words string // of group 1
		again time.Duration
	}{
		"a node that died is waited for": {
			cluster(zoned("abcc", dead(3, time.Minute)), formed(1, at(1, 2, 3))), "",
			"node 3 has been dead for 1m0s; its replica is replaced in 4m0s", 4 * time.Minute,
		},
		"and then replaced": {
			cluster(zoned("abcc", dead(3, 5*time.Minute)), formed(1, at(1, 2, 3))),
			"replace the replica of node 3 by one on node 4: node 3 has been dead for 5m0s", "", 0,
		},
		"so is a replica that is lost": {
			cluster(zoned("abcc", nil), formed(1, at(1, 2, 3), func(g *Group) { g.Replicas[2].Lost, g.Replicas[2].LostFor = "it has no state", time.Hour })),
			"replace the replica of node 3 by one on node 4: the replica of node 3 has been lost for 1h0m0s: it has no state", "", 0,
		},
		"not one that a silent node has": {
			cluster(zoned("abcc", func(n []Node) { n[2].Health = policy.Silent }), formed(1, at(1, 2, 3))), "", "", 0,
		},
		"not one of a node that drained before": {
			cluster(zoned("abcc", func(n []Node) { dead(3, time.Hour)(n); n[2].Draining = true }), formed(1, at(1, 2, 3))), "",
			"node 3 has been dead for 1h0m0s and was draining, so its replica is not replaced; undrain the node, or remove it, to have that", 0,
		},
		"nobody can take it": {
			cluster(zoned("abcdefg", func(n []Node) {
				dead(3, time.Hour)(n)
				n[3].Draining, n[4].Full, n[5].Quarantined = true, "stop", true
			}), formed(1, at(1, 2, 3), func(g *Group) { g.Former = at(7) })), "",
			"node 3 has been dead for 1h0m0s, and its replica waits to be put elsewhere: no node can take it: node 4 is draining, node 5 is low on space: stop, node 6 is in quarantine, node 7 still has files of its former replica", 0,
		},
		"nobody is left": {
			cluster(zoned("abc", dead(3, time.Hour)), formed(1, at(1, 2, 3))), "",
			"node 3 has been dead for 1h0m0s, and its replica waits to be put elsewhere: all 3 nodes have a replica already; start another node", 0,
		},
		"the zone that lacks one before the load": {
			cluster(zoned("abcbc", dead(3, time.Hour)), formed(1, at(1, 2, 3)), formed(2, at(5)), formed(3, at(5))),
			"replace the replica of node 3 by one on node 5: node 3 has been dead for 1h0m0s", "", 0,
		},
		"without a leader nothing is changed": {
			cluster(zoned("abcc", dead(3, time.Hour)), formed(1, at(1, 2, 3), func(g *Group) { g.Leader = 0 })), "",
			"node 3 has been dead for 1h0m0s, and its replica waits to be put elsewhere: the group has no leader", 0,
		},
		"a change under way is not disturbed": {cluster(zoned("abcc", dead(3, time.Hour)), formed(1, at(1, 2, 3), changing)), "", "", 0},
		"but given up when the node is back": {
			cluster(zoned("abcc", nil), formed(1, at(1, 2, 3), changing)), "remove the replica of node 4: node 3 and its replica are back", "", 0,
		},
		"unless the new one learns already": {
			cluster(zoned("abcc", nil), formed(1, at(1, 2, 3), changing, func(g *Group) { g.Replicas[3].Learns = true })), "", "", 0,
		},
		"or it was for another reason": {
			cluster(zoned("abcc", nil), formed(1, at(1, 2, 3), changing, func(g *Group) { g.Replaces = false })), "", "", 0,
		},
		"and never when it is an operator's": {
			cluster(zoned("abcc", dead(4, time.Hour)), formed(1, at(1, 2, 3), changing, func(g *Group) { g.Cause = "" })), "", "", 0,
		},
		"the new one's node dies": {
			cluster(zoned("abccc", func(n []Node) { dead(3, time.Hour)(n); dead(4, 50*time.Second)(n) }), formed(1, at(1, 2, 3), changing)), "", "", 10 * time.Second,
		},
		"for too long": {
			cluster(zoned("abccc", func(n []Node) { dead(3, time.Hour)(n); dead(4, time.Minute)(n) }), formed(1, at(1, 2, 3), changing)),
			"remove the replica of node 4: node 4 has been dead for 1m0s", "", 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			plan := Replicas(tc.c, replicaRules)
			var got []string
			for _, c := range plan.Changes {
				got = append(got, c.Change.String()+": "+c.Why)
			}
			if strings.Join(got, "; ") != tc.want || plan.Words[1] != tc.words || plan.Again != tc.again {
				t.Errorf("%q, in words %q, again after %v; want %q, %q, %v", got, plan.Words[1], plan.Again, tc.want, tc.words, tc.again)
			}
		})
	}
}

func TestChangesOfReplicasAreLimited(t *testing.T) {
	c := cluster(zoned("abccd", dead(3, time.Hour)), formed(1, at(1, 2, 3)), formed(2, at(1, 2, 3)), formed(3, at(1, 2, 3)))
	plan := Replicas(c, ReplicaRules{ReplaceAfter: time.Minute, Changes: 2, PerNode: 9})
	if want := "node 3 has been dead for 1h0m0s, and its replica waits to be put elsewhere: 2 changes of replicas are under way in the cluster, which is the limit"; len(plan.Changes) != 2 || plan.Words[3] != want {
		t.Errorf("%v, %q", plan.Changes, plan.Words[3])
	}
	// A node in a worse zone does not take the place of one that has enough to do.
	c = cluster(zoned("aabbcc", dead(6, time.Hour)), formed(1, at(1, 3, 6)), formed(2, at(1, 3, 6)))
	plan = Replicas(c, ReplicaRules{ReplaceAfter: time.Minute, Changes: 9, PerNode: 1})
	if want := "node 6 has been dead for 1h0m0s, and its replica waits to be put elsewhere: node 5 is getting 1 replica, which is the limit for one node"; len(plan.Changes) != 1 || plan.Words[2] != want {
		t.Errorf("%v, %q", plan.Changes, plan.Words[2])
	}
}

func TestANodeThatLeavesIsEmptiedAndForgotten(t *testing.T) {
	leaves := func(id int) func([]Node) { return func(n []Node) { n[id-1].Leaving = true } }
	plan := Replicas(cluster(zoned("abcc", leaves(3)), formed(1, at(3, 1, 2))), replicaRules)
	if len(plan.Changes) != 1 || plan.Changes[0].Change != (policy.Change{Add: 4, Remove: 3}) || plan.Changes[0].Replaces || plan.Notes[3] != "1 replica is still to be put elsewhere" || len(plan.Gone) != 0 {
		t.Errorf("%+v", plan)
	}
	plan = Replicas(cluster(zoned("abc", leaves(3)), formed(1, at(1, 2, 3))), replicaRules)
	if want := "1 replica is still to be put elsewhere; group 1 waits: all 3 nodes have a replica already; start another node"; len(plan.Changes) != 0 || plan.Notes[3] != want {
		t.Errorf("%+v", plan)
	}
	plan = Replicas(cluster(zoned("abc", func(n []Node) { leaves(3)(n); n[2].Former = 2 })), replicaRules)
	if len(plan.Gone) != 0 || plan.Notes[3] != "the files of 2 former replicas are still to be removed" {
		t.Errorf("%+v", plan)
	}
	// A dead one is not waited for.
	plan = Replicas(cluster(zoned("abcc", func(n []Node) { leaves(3)(n); dead(3, time.Second)(n) }), formed(1, at(1, 2, 3))), replicaRules)
	if len(plan.Changes) != 1 {
		t.Errorf("%+v", plan)
	}
	plan = Replicas(cluster(zoned("abc", leaves(3))), replicaRules)
	if !reflect.DeepEqual(plan.Gone, at(3)) {
		t.Errorf("%+v", plan)
	}
}

func TestReplicasAreSpreadAndBalancedWhenAllIsWell(t *testing.T) {
	crowded := func(change func([]Node)) Cluster {
		var groups []Group
		for id := range 4 {
			groups = append(groups, formed(pinetree.GroupID(id+1), at(1, 2, 3)))
		}
		return weighed(cluster(zoned("abcabc", change), groups...))
	}
	one := func(c Cluster) string {
		t.Helper()
		plan := Replicas(c, replicaRules)
		if len(plan.Changes) == 0 {
			return ""
		}
		if len(plan.Changes) > 1 || !plan.Weighed || plan.Changes[0].Replaces {
			t.Errorf("%+v", plan)
		}
		return plan.Changes[0].Change.String() + ": " + plan.Changes[0].Why
	}
	if got := one(weighed(cluster(zoned("aabb", nil), formed(1, at(1, 2, 3))))); got != "" {
		t.Errorf("two and one is as even as can be: %s", got)
	}
	if got, want := one(weighed(cluster(zoned("aabc", nil), formed(1, at(1, 2, 3))))), `replace the replica of node 2 by one on node 4: zone "a" has 2 of its replicas and zone "c" has 0`; got != want {
		t.Errorf("spread: %s", got)
	}
	if got, want := one(crowded(nil)), "replace the replica of node 3 by one on node 6: node 3 has 4 replicas and node 6 has 0"; got != want && got != strings.ReplaceAll(want, "3", "2") {
		t.Logf("balance: %s", got)
		if !strings.HasSuffix(got, "has 4 replicas and node 5 has 0") {
			t.Errorf("balance: %s", got)
		}
	}
	for name, c := range map[string]Cluster{
		"a node is dead":       crowded(dead(5, time.Second)),
		"a node drains":        crowded(func(n []Node) { n[4].Draining = true }),
		"a node was just back": crowded(func(n []Node) { n[4].Steady = time.Second }),
		"it was just looked at": func() Cluster {
			c := crowded(nil)
			c.Weighed = time.Second
			return c
		}(),
		"a group has no leader": func() Cluster { c := crowded(nil); c.Groups[3].Leader = 0; return c }(),
	} {
		if got := one(c); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}
