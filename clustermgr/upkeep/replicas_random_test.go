package upkeep

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
)

var replicaRules = ReplicaRules{
	ReplaceAfter: 5 * time.Minute, AbandonAfter: time.Minute, Changes: 6, PerNode: 2, Calm: 30 * time.Second, Pace: 10 * time.Second,
}

// world is a cluster in which changes of replicas take their time.
type world struct {
	t     *rapid.T
	c     Cluster
	slow  bool // changes may stay under way for a while
	fails bool // nodes die and return
	stale bool // a leader may not know that it has lost its quorum
}

func drawWorld(t *rapid.T) *world {
	w := &world{t: t, slow: rapid.Bool().Draw(t, "slow"), fails: rapid.Bool().Draw(t, "fails"), stale: rapid.Bool().Draw(t, "stale")}
	trouble := rapid.SampledFrom([]int{11, 40, 1000}).Draw(t, "trouble")
	zones := rapid.IntRange(1, 4).Draw(t, "zones")
	nodes := rapid.IntRange(1, 9).Draw(t, "nodes")
	for id := 1; id <= nodes; id++ {
		n := Node{ID: pinetree.NodeID(id), Zone: string(rune('a' + rapid.IntRange(0, zones-1).Draw(t, "zone"))), Lasting: time.Hour, Steady: time.Hour}
		switch rapid.IntRange(0, trouble).Draw(t, "condition") {
		case 0:
			n.Health = policy.Dead
		case 1:
			n.Health, n.Lasting, n.Steady = policy.Dead, time.Minute, time.Minute
		case 2:
			n.Health = policy.Silent
		case 3:
			n.Draining = true
		case 4:
			n.Leaving = true
		case 5:
			n.Quarantined = true
		case 6:
			n.Full = "stop"
		case 7:
			n.Leaving, n.Health = true, policy.Dead
		}
		w.c.Nodes = append(w.c.Nodes, n)
	}
	crowd := rapid.SampledFrom([]int{3, 5, nodes}).Draw(t, "crowd") // nodes that began the cluster
	for id := 1; id <= rapid.SampledFrom([]int{2, 12, 30}).Draw(t, "groups"); id++ {
		size := rapid.SampledFrom([]int{1, 3, 3, 3, 5}).Draw(t, "size")
		if size > min(crowd, nodes) {
			continue
		}
		g := Group{ID: pinetree.GroupID(id), Created: true, Settled: time.Hour, Home: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "home")}
		on := rapid.Permutation(w.c.Nodes[:min(crowd, nodes)]).Draw(t, "on")[:size]
		for _, n := range on {
			r := Replica{Node: n.ID, Votes: true}
			if rapid.IntRange(0, trouble).Draw(t, "lost") == 0 {
				r.Lost, r.LostFor = "gone", rapid.SampledFrom([]time.Duration{time.Second, time.Hour}).Draw(t, "for")
			}
			g.Replicas = append(g.Replicas, r)
		}
		w.c.Groups = append(w.c.Groups, g)
	}
	w.c.Weighed = time.Hour
	w.elect()
	return w
}

// usable tells whether a replica counts for a quorum.
func (w *world) usable(r Replica) bool {
	n := w.c.find(r.Node)
	return n != nil && n.Health != policy.Dead && (n.Health != policy.Alive || r.Lost == "")
}

// elect finds a leader for each group that can have one, and counts replicas.
func (w *world) elect() {
	for i := range w.c.Nodes {
		w.c.Nodes[i].Replicas, w.c.Nodes[i].Former = 0, 0
	}
	for i := range w.c.Groups {
		g := &w.c.Groups[i]
		var live []pinetree.NodeID
		for _, r := range g.Replicas {
			w.c.find(r.Node).Replicas++
			if r.Votes && w.usable(r) && w.c.find(r.Node).Health == policy.Alive {
				live = append(live, r.Node)
			}
		}
		for _, id := range g.Former {
			w.c.find(id).Former++
		}
		g.Leader = 0
		if len(live) > len(g.voters())/2 || w.stale && len(live) > 0 {
			g.Leader = live[0]
		}
		g.Led = g.Leader != 0
	}
}

// check fails when a plan would do harm.
func (w *world) check(plan ReplicaPlan) {
	seen := map[pinetree.GroupID]bool{}
	adding := map[pinetree.NodeID]int{}
	under := 0
	for _, g := range w.c.Groups {
		if g.Changing {
			under++
			adding[g.Change.Add]++
		}
	}
	for _, p := range plan.Changes {
		g := &w.c.Groups[slices.IndexFunc(w.c.Groups, func(g Group) bool { return g.ID == p.Group })]
		if seen[p.Group] || p.Why == "" {
			w.t.Fatalf("%+v: a second change, or one without a reason", p)
		}
		seen[p.Group] = true
		if g.Changing {
			if p.Change.Add != 0 || p.Change.Remove != g.Change.Add || g.Cause == "" {
				w.t.Fatalf("%+v begins while %v is under way", p, g.Change)
			}
			continue
		}
		under++
		adding[p.Change.Add]++
		w.survives(g, p)
	}
	if under > replicaRules.Changes && len(plan.Changes) > 0 && len(seen) > 0 && slices.ContainsFunc(plan.Changes, func(c ReplicaChange) bool { return c.Change.Add != 0 }) {
		w.t.Fatalf("%d changes at once", under)
	}
	for _, id := range plan.Gone {
		if n := w.c.find(id); n.Replicas+n.Former > 0 || !n.Leaving {
			w.t.Fatalf("node %+v is to be forgotten", n)
		}
	}
	for id, n := range adding {
		if n > replicaRules.PerNode {
			w.t.Fatalf("%d replicas at once to node %d", n, id)
		}
	}
}

// survives fails when a change puts a replica where it cannot be, or when the group
// could not go on before it is through, or after.
func (w *world) survives(g *Group, p ReplicaChange) {
	to := w.c.find(p.Change.Add)
	from := g.replica(p.Change.Remove)
	switch {
	case to == nil || to.Health != policy.Alive || to.Leaving || to.Draining || to.Quarantined || to.Full != "":
		w.t.Fatalf("%+v: node %+v is given a replica", p, to)
	case slices.ContainsFunc(g.Replicas, func(r Replica) bool { return r.Node == to.ID }), slices.Contains(g.Former, to.ID):
		w.t.Fatalf("%+v: node %d has files of group %d already: %+v", p, to.ID, g.ID, g)
	case !from.Votes:
		w.t.Fatalf("%+v: node %d is no voter", p, from.Node)
	}
	before, after := 0, 1 // the new one
	for _, r := range g.Replicas {
		if w.usable(r) {
			before++
			if r.Node != from.Node {
				after++
			}
		}
	}
	if all := len(g.Replicas); before <= all/2 || after <= all/2 {
		w.t.Fatalf("%+v: of %d voters %d are of use before and %d after", p, all, before, after)
	}
	n := w.c.find(from.Node)
	if lost := !w.usable(from); !lost && !n.Leaving {
		was, is := w.unevenness(g, 0, 0), w.unevenness(g, from.Node, to.ID)
		if is > was {
			w.t.Fatalf("%+v: the spread over zones suffers, %d and %d", p, was, is)
		}
		if is == was && n.Replicas-to.Replicas < 3 {
			w.t.Fatalf("%+v: from a node with %d replicas to one with %d, for nothing", p, n.Replicas, to.Replicas)
		}
	}
}

// unevenness of a group over zones: the sum of the squares, once a replica moved.
func (w *world) unevenness(g *Group, from, to pinetree.NodeID) int {
	count := map[string]int{}
	for _, r := range g.Replicas {
		id := r.Node
		if id == from {
			id = to
		}
		count[w.c.find(id).Zone]++
	}
	sum := 0
	for _, n := range count {
		sum += n * n
	}
	return sum
}

// turn lets time pass: what was planned begins, and what is under way ends.
func (w *world) turn(plan ReplicaPlan) {
	w.c.Weighed += time.Minute
	if plan.Weighed {
		w.c.Weighed = time.Minute
	}
	for i := range w.c.Groups {
		g := &w.c.Groups[i]
		if rapid.Bool().Draw(w.t, "clean") {
			g.Former = nil
		}
		if g.Changing && !(w.slow && rapid.Bool().Draw(w.t, "slow still")) {
			w.finish(g)
		}
	}
	for _, p := range plan.Changes {
		g := &w.c.Groups[slices.IndexFunc(w.c.Groups, func(g Group) bool { return g.ID == p.Group })]
		if p.Change.Add == 0 {
			g.Replicas = slices.DeleteFunc(g.Replicas, func(r Replica) bool { return r.Node == p.Change.Remove })
			g.Changing, g.Change, g.Cause, g.Former = false, policy.Change{}, "", append(g.Former, p.Change.Remove)
			continue
		}
		g.Changing, g.Change, g.Cause, g.Replaces = true, p.Change, p.Why, p.Replaces
		g.Replicas = append(g.Replicas, Replica{Node: p.Change.Add})
		if !w.slow {
			w.finish(g)
		}
	}
	for i := range w.c.Nodes {
		n := &w.c.Nodes[i]
		n.Lasting, n.Steady = n.Lasting+time.Minute, n.Steady+time.Minute
		if w.fails && rapid.IntRange(0, 19).Draw(w.t, "event") == 0 {
			n.Health, n.Lasting, n.Steady = rapid.SampledFrom([]policy.Health{policy.Alive, policy.Dead}).Draw(w.t, "health"), 0, 0
		}
	}
	w.elect()
}

// finish ends the change of a group, if its leader and the new node let it.
func (w *world) finish(g *Group) {
	if !g.Changing || g.Leader == 0 || w.c.find(g.Change.Add).Health != policy.Alive {
		return
	}
	g.Replicas = slices.DeleteFunc(g.Replicas, func(r Replica) bool { return r.Node == g.Change.Remove })
	for i := range g.Replicas {
		g.Replicas[i].Votes = true
	}
	g.Former = append(g.Former, g.Change.Remove)
	g.Changing, g.Change, g.Cause = false, policy.Change{}, ""
}

// TestPlansOfReplicasDoNoHarmAndComeToAnEnd takes random clusters to where there is
// nothing left to be done, while changes take their time and nodes die and return.
func TestPlansOfReplicasDoNoHarmAndComeToAnEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		for range 15 {
			plan := Replicas(w.c, replicaRules)
			w.check(plan)
			w.turn(plan)
		}
		w.slow, w.fails = false, false
		began := 0
		for rounds := 0; ; rounds++ {
			plan := Replicas(w.c, replicaRules)
			w.check(plan)
			began += len(plan.Changes)
			if len(plan.Changes) == 0 && !slices.ContainsFunc(w.c.Groups, func(g Group) bool { return g.Changing && g.Leader != 0 }) && (plan.Again == 0 || rounds > 60) {
				w.done(plan)
				return
			}
			if rounds > 200 {
				t.Fatalf("%d changes, and no end: %+v", began, plan)
			}
			w.turn(plan)
		}
	})
}

// done fails when something was left undone without a word about it.
func (w *world) done(plan ReplicaPlan) {
	for _, n := range w.c.Nodes {
		if n.Leaving && (plan.Notes[n.ID] == "") != slices.Contains(plan.Gone, n.ID) {
			w.t.Fatalf("node %d leaves: note %q, gone %v", n.ID, plan.Notes[n.ID], plan.Gone)
		}
	}
	for i := range w.c.Groups {
		g := &w.c.Groups[i]
		for _, r := range g.Replicas {
			n := w.c.find(r.Node)
			if wants := n.Leaving || !w.usable(r); wants && !g.Changing && plan.Words[g.ID] == "" {
				w.t.Fatalf("the replica of node %+v is left in group %+v without a word", n, g)
			}
		}
	}
}

// TestWhereAllIsWellNothingIsDone places groups as new ones are, in clusters with
// as many nodes in each zone.
func TestWhereAllIsWellNothingIsDone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zones, each := rapid.IntRange(1, 4).Draw(t, "zones"), rapid.IntRange(1, 4).Draw(t, "each")
		c := Cluster{Weighed: time.Hour}
		var sites []policy.Site
		for id := range zones * each {
			zone := fmt.Sprint("z", id%zones)
			c.Nodes = append(c.Nodes, Node{ID: pinetree.NodeID(id + 1), Zone: zone, Lasting: time.Hour, Steady: time.Hour})
			sites = append(sites, policy.Site{Node: pinetree.NodeID(id + 1), Zone: zone})
		}
		for id := range rapid.IntRange(0, 40).Draw(t, "groups") {
			voters, err := policy.Place(sites, rapid.SampledFrom([]int{1, 3, 5}).Draw(t, "size"), "")
			if err != nil {
				continue
			}
			g := Group{ID: pinetree.GroupID(id + 1), Created: true, Leader: voters[0], Led: true, Settled: time.Hour}
			for _, v := range voters {
				g.Replicas = append(g.Replicas, Replica{Node: v, Votes: true})
				sites[v-1].Replicas++
				c.Nodes[v-1].Replicas++
			}
			c.Groups = append(c.Groups, g)
		}
		if plan := Replicas(c, replicaRules); len(plan.Changes)+len(plan.Words)+len(plan.Notes)+len(plan.Gone) > 0 || !plan.Weighed {
			t.Fatalf("%+v", plan)
		}
	})
}
