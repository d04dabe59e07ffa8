package upkeep

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
)

func TestStop(t *testing.T) {
	led := func(by pinetree.NodeID) func(*Group) { return func(g *Group) { g.Leader = by } }
	for name, tc := range map[string]struct {
		c              Cluster
		node           pinetree.NodeID
		reasons, notes []string
	}{
		"a follower of three": {c: cluster(zoned("abc", nil), formed(1, at(1, 2, 3))), node: 2},
		"the leader": {
			c: cluster(zoned("abc", nil), formed(1, at(1, 2, 3)), formed(2, at(2, 1, 3))), node: 1,
			notes: []string{"1 group that it leads would be without a leader until another one is appointed; drain node 1 first to move them without that"},
		},
		"a node without replicas": {c: cluster(zoned("abcd", nil), formed(1, at(1, 2, 3))), node: 4},
		"another one is dead": {
			c: cluster(zoned("abc", dead(3, time.Second)), formed(1, at(1, 2, 3))), node: 2,
			reasons: []string{"group 1 would lose its quorum: 1 of 3 replicas would be left, for node 3 is dead"},
		},
		"another one is silent": {
			c: cluster(zoned("abc", func(n []Node) { n[2].Health = policy.Silent }), formed(1, at(1, 2, 3))), node: 2,
			reasons: []string{"group 1 would lose its quorum: 1 of 3 replicas would be left, for node 3 is silent"},
		},
		"another one drains": {
			c: cluster(zoned("abc", func(n []Node) { n[2].Draining = true }), formed(1, at(1, 2, 3))), node: 2,
			reasons: []string{"group 1 would lose its quorum: 1 of 3 replicas would be left, for node 3 is draining"},
		},
		"the one that drains itself": {c: cluster(zoned("abc", func(n []Node) { n[1].Draining = true }), formed(1, at(1, 2, 3))), node: 2},
		"another replica is lost": {
			c:    cluster(zoned("abc", nil), formed(1, at(1, 2, 3), func(g *Group) { g.Replicas[2].Lost = "it stopped" })),
			node: 2, reasons: []string{"group 1 would lose its quorum: 1 of 3 replicas would be left, for node 3 lost its replica: it stopped"},
		},
		"the only one": {
			c: cluster(zoned("abc", nil), formed(1, at(2))), node: 2, reasons: []string{"group 1 would lose its quorum: it has its only replica here"},
		},
		"a learner does not count": {
			c: cluster(zoned("abcd", dead(3, time.Second)), formed(1, at(1, 2, 3, 4), func(g *Group) { g.Replicas[3].Votes, g.Replicas[3].Learns = false, true })), node: 2,
			reasons: []string{"group 1 would lose its quorum: 1 of 3 replicas would be left, for node 3 is dead"},
		},
		"nor does its own stop": {
			c: cluster(zoned("abcd", nil), formed(1, at(1, 2, 3, 4), func(g *Group) {
				g.Replicas[3].Votes, g.Changing, g.Change = false, true, policy.Change{Add: 4}
			})), node: 4,
			notes: []string{"group 1 is about to add a replica on node 4, which would wait"},
		},
		"half of a joint change": {
			// To 1, 2 and 4 from 1, 2 and 3; node 3 is dead, and of the old ones only 1
			// would be left.
			c: cluster(zoned("abcd", dead(3, time.Second)), formed(1, at(1, 2, 3, 4), func(g *Group) {
				for i := range 3 {
					g.Replicas[i].Before = true
				}
				g.Replicas[2].Votes = false
			})), node: 2,
			reasons: []string{"group 1 would lose its quorum: 1 of 3 replicas would be left, for node 3 is dead"},
		},
		"one that only the old half has": {
			c: cluster(zoned("abcd", dead(2, time.Second)), formed(1, at(1, 2, 3, 4), func(g *Group) {
				for i := range 3 {
					g.Replicas[i].Before = true
				}
				g.Replicas[2].Votes = false
			})), node: 3,
			reasons: []string{"group 1 would lose its quorum: 1 of 3 replicas would be left, for node 2 is dead"},
		},
		"all in one zone": {
			c: cluster(zoned("aab", nil), formed(1, at(1, 2, 3))), node: 3,
			reasons: []string{`group 1 would have all its replicas in one zone: "a"`},
		},
		"there is but one zone": {c: cluster(zoned("aaa", nil), formed(1, at(1, 2, 3))), node: 3},
		"nobody can lead it": {
			c: cluster(zoned("abc", nil), formed(1, at(1, 2, 3), led(2), func(g *Group) { g.Replicas[0].Unfit, g.Replicas[2].Unfit = "far behind", "blank" })), node: 2,
			reasons: []string{"group 1 would lose its lease, for no other replica can lead it: node 1 cannot: far behind, node 3 cannot: blank"},
		},
		"dead already": {
			c: cluster(zoned("abc", dead(2, time.Second)), formed(1, at(1, 2, 3))), node: 2, notes: []string{"node 2 is dead already"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Stop(tc.c, tc.node)
			if !reflect.DeepEqual(got.Reasons, tc.reasons) || !reflect.DeepEqual(got.Notes, tc.notes) {
				t.Errorf("reasons %q, notes %q; want %q, %q", got.Reasons, got.Notes, tc.reasons, tc.notes)
			}
		})
	}
}

// TestManyReasonsAreSummedUp: of each kind a few are named.
func TestManyReasonsAreSummedUp(t *testing.T) {
	var groups []Group
	for id := range 300 {
		groups = append(groups, formed(pinetree.GroupID(id+1), at(2)))
	}
	got := Stop(cluster(zoned("abc", nil), groups...), 2).Reasons
	if len(got) != maxWords+1 || got[maxWords] != "each of 294 more groups would lose its quorum" {
		t.Errorf("%q", got)
	}
}

func TestWhoCannotLeaveTheCluster(t *testing.T) {
	three := formed(7, at(1, 2, 3))
	for name, tc := range map[string]struct {
		c    Cluster
		want string
	}{
		"a fourth node takes it":       {cluster(zoned("abcc", nil), three), ""},
		"a dead one leaves":            {cluster(zoned("abcc", dead(3, time.Second)), three), ""},
		"nobody takes it":              {cluster(zoned("abc", nil), three), "group 7 would not have enough nodes: it has 3 replicas, and 2 live nodes would remain; start another node first"},
		"the fourth is dead":           {cluster(zoned("abcc", dead(4, time.Second)), three), "group 7 would not have enough nodes: it has 3 replicas, and 2 live nodes would remain; start another node first"},
		"the fourth leaves, too":       {cluster(zoned("abcc", func(n []Node) { n[3].Leaving = true }), three), "group 7 would not have enough nodes: it has 3 replicas, and 2 live nodes would remain; start another node first"},
		"the group has lost a quorum":  {cluster(zoned("abccc", func(n []Node) { dead(3, time.Second)(n); dead(2, time.Second)(n) }), three), "1 of 3 replicas are of use; start the nodes of the others"},
		"it has no replica of a group": {cluster(zoned("abc", nil), formed(7, at(1))), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(CannotLeave(tc.c, 3), "; ")
			if tc.want == "" && got != "" || !strings.HasSuffix(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
