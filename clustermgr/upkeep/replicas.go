package upkeep

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
)

// ReplicaRules bound the changes of replicas that the manager begins by itself.
type ReplicaRules struct {
	// ReplaceAfter is for how long a replica must have been lost, or its node
	// dead, before another one takes its place.
	ReplaceAfter time.Duration
	// AbandonAfter is for how long the node of a new replica may be dead before
	// another one is tried.
	AbandonAfter time.Duration
	// Changes is how many may be under way in the cluster, operators' included, and
	// PerNode how many of them may bring a replica to the same node.
	Changes, PerNode int
	// Calm is for how long everything must have been well before replicas are moved
	// for a better balance, and Pace how long after one move the next begins.
	Calm, Pace time.Duration
}

// ReplicaChange is a change of a group's replicas that is to begin now. One that
// gives up the change under way removes the replica that this one adds.
type ReplicaChange struct {
	Group  pinetree.GroupID
	Change policy.Change
	Why    string
	// Replaces tells that the replica that goes is lost.
	Replaces bool
}

// ReplicaPlan is what is to be done about replicas now.
type ReplicaPlan struct {
	Changes []ReplicaChange
	// Gone are nodes that leave and have nothing left.
	Gone []pinetree.NodeID
	// Again is after how long something may be due though nothing happens; zero
	// when nothing will be.
	Again time.Duration
	// Weighed tells that the balance was looked at.
	Weighed bool
	// Words say of groups why a replica that is to go is still there.
	Words map[pinetree.GroupID]string
	// Notes say of nodes that leave what is left to be done.
	Notes map[pinetree.NodeID]string
}

// Replicas says which changes of replicas are to begin now. A group has one at a
// time, and none after which it could not go on. First come replicas that are
// lost, then those of nodes that leave, then, when all is well, groups that could
// be spread over more zones, and last nodes that have far more than others.
func Replicas(c Cluster, rules ReplicaRules) ReplicaPlan {
	p := replicaPlanner{
		cluster: &c, rules: rules, adding: map[pinetree.NodeID]int{}, load: map[pinetree.NodeID]int{},
		plan: ReplicaPlan{Words: map[pinetree.GroupID]string{}, Notes: map[pinetree.NodeID]string{}},
	}
	for _, n := range c.Nodes {
		p.load[n.ID] = n.Replicas
	}
	for _, g := range c.Groups {
		if g.Changing {
			p.changes++
			p.adding[g.Change.Add]++
		}
	}
	p.giveUp()
	p.replace()
	p.leave()
	p.weigh()
	return p.plan
}

// replicaPlanner plans changes of replicas.
type replicaPlanner struct {
	cluster *Cluster
	rules   ReplicaRules
	changes int                     // under way once what is planned has begun
	adding  map[pinetree.NodeID]int // replicas that each node is getting then
	load    map[pinetree.NodeID]int // replicas that each node has then
	plan    ReplicaPlan
}

func (p *replicaPlanner) begin(c ReplicaChange) {
	p.plan.Changes = append(p.plan.Changes, c)
	p.changes++
	p.adding[c.Change.Add]++
	p.load[c.Change.Add]++
	p.load[c.Change.Remove]--
}

// due takes note that something is due after a while.
func (p *replicaPlanner) due(after time.Duration) {
	if p.plan.Again == 0 || after < p.plan.Again {
		p.plan.Again = max(after, time.Millisecond)
	}
}

// giveUp ends replacements that are not needed any more, because the replica is
// back before the state was on its way to the new one, and those that do not get
// on, because the new one's node is dead or leaves. An operator's are left alone.
func (p *replicaPlanner) giveUp() {
	for i := range p.cluster.Groups {
		g := &p.cluster.Groups[i]
		if !g.Changing || g.Cause == "" || g.Change.Add == 0 || g.Leader == 0 || g.replica(g.Change.Add).Votes {
			continue
		}
		if why := p.hopeless(g); why != "" {
			p.plan.Changes = append(p.plan.Changes, ReplicaChange{Group: g.ID, Change: policy.Change{Remove: g.Change.Add}, Why: why})
		}
	}
}

// hopeless says why the replica that a group's change adds is not to be added
// after all, or nothing.
func (p *replicaPlanner) hopeless(g *Group) string {
	to, from := p.cluster.find(g.Change.Add), p.cluster.find(g.Change.Remove)
	switch {
	case to == nil:
		return fmt.Sprintf("node %d is not known any more", g.Change.Add)
	case to.Leaving:
		return fmt.Sprintf("node %d is leaving the cluster", to.ID)
	case to.Health == policy.Dead && to.Lasting >= p.rules.AbandonAfter:
		return fmt.Sprintf("node %d has been dead for %v", to.ID, to.Lasting.Round(time.Second))
	case to.Health == policy.Dead:
		p.due(p.rules.AbandonAfter - to.Lasting)
	case !g.Replaces || from == nil || from.Leaving || from.Health != policy.Alive || g.replica(to.ID).Learns:
	case p.loss(g.replica(from.ID)).why == "":
		return fmt.Sprintf("node %d and its replica are back", from.ID)
	}
	return ""
}

// replace begins to replace replicas that have been lost for long enough, of each
// group the one that was lost first.
func (p *replicaPlanner) replace() {
	for i := range p.cluster.Groups {
		g := &p.cluster.Groups[i]
		if g.Changing || !g.Created {
			continue
		}
		var of Replica
		var worst loss
		for _, r := range g.Replicas {
			if l := p.loss(r); l.why != "" && (worst.why == "" || l.since > worst.since) {
				of, worst = r, l
			}
		}
		if worst.why == "" {
			continue
		}
		n := p.cluster.find(of.Node)
		leaving := n == nil || n.Leaving
		switch left := p.rules.ReplaceAfter - worst.since; {
		case !leaving && n.Draining && n.Health == policy.Dead:
			p.plan.Words[g.ID] = worst.why + " and was draining, so its replica is not replaced; undrain the node, or remove it, to have that"
		case !leaving && left > 0:
			p.plan.Words[g.ID] = fmt.Sprintf("%s; its replica is replaced in %v", worst.why, left.Round(time.Second))
			p.due(left)
		default:
			p.moveAway(g, of.Node, ReplicaChange{Why: worst.why, Replaces: true})
		}
	}
}

// loss is why a replica is of no use, and for how long it has been.
type loss struct {
	why   string
	since time.Duration
}

// loss is empty for a replica that is of use, and for one that does not vote.
func (p *replicaPlanner) loss(r Replica) loss {
	n := p.cluster.find(r.Node)
	switch {
	case !r.Votes:
		return loss{}
	case n == nil:
		return loss{fmt.Sprintf("node %d is not known", r.Node), p.rules.ReplaceAfter}
	case n.Health == policy.Dead:
		return loss{fmt.Sprintf("node %d has been dead for %v", n.ID, n.Lasting.Round(time.Second)), n.Lasting}
	case n.Health == policy.Alive && r.Lost != "":
		return loss{fmt.Sprintf("the replica of node %d has been lost for %v: %s", n.ID, r.LostFor.Round(time.Second), r.Lost), r.LostFor}
	}
	return loss{}
}

// leave empties nodes that are to leave, and says which are empty.
func (p *replicaPlanner) leave() {
	type state struct {
		left int
		why  string
	}
	leaving := map[pinetree.NodeID]*state{}
	for _, n := range p.cluster.Nodes {
		if n.Leaving {
			leaving[n.ID] = &state{}
		}
	}
	if len(leaving) == 0 {
		return
	}
	for i := range p.cluster.Groups {
		g := &p.cluster.Groups[i]
		for _, r := range g.Replicas {
			s := leaving[r.Node]
			if s == nil {
				continue
			}
			s.left++
			if g.Changing || !g.Created || p.planned(g.ID) {
				continue
			}
			if obstacle := p.moveAway(g, r.Node, ReplicaChange{Why: fmt.Sprintf("node %d is leaving the cluster", r.Node)}); obstacle != "" && s.why == "" {
				s.why = fmt.Sprintf("group %d waits: %s", g.ID, obstacle)
			}
		}
	}
	for _, n := range p.cluster.Nodes {
		s := leaving[n.ID]
		switch {
		case s == nil:
		case s.left > 0:
			p.plan.Notes[n.ID] = strings.TrimSuffix(fmt.Sprintf("%s still to be put elsewhere; %s", many(s.left, "replica is", "replicas are"), s.why), "; ")
		case n.Former > 0:
			p.plan.Notes[n.ID] = fmt.Sprintf("the files of %s still to be removed", many(n.Former, "former replica are", "former replicas are"))
		default:
			p.plan.Gone = append(p.plan.Gone, n.ID)
		}
	}
}

// planned tells whether a change of the group is planned.
func (p *replicaPlanner) planned(id pinetree.GroupID) bool {
	return slices.ContainsFunc(p.plan.Changes, func(c ReplicaChange) bool { return c.Group == id })
}

// moveAway plans to put the replica of a node on another one, for the reason that
// is given. When that cannot begin now it says why not, here and in the words of
// the group.
func (p *replicaPlanner) moveAway(g *Group, from pinetree.NodeID, c ReplicaChange) (obstacle string) {
	c.Group, c.Change.Remove = g.ID, from
	to, obstacle := p.place(g, from)
	if to != nil {
		c.Change.Add = to.ID
		obstacle = p.obstacle(g, c.Change)
	}
	if obstacle == "" {
		p.begin(c)
		return ""
	}
	p.plan.Words[g.ID] = fmt.Sprintf("%s, and its replica waits to be put elsewhere: %s", c.Why, obstacle)
	return obstacle
}

// obstacle says why a change cannot begin now, or nothing: the limit is reached,
// nobody leads the group, or it would not survive.
func (p *replicaPlanner) obstacle(g *Group, c policy.Change) string {
	switch {
	case p.changes >= p.rules.Changes:
		return fmt.Sprintf("%d changes of replicas are under way in the cluster, which is the limit", p.changes)
	case g.Leader == 0:
		return "the group has no leader"
	}
	err := policy.CheckChange(c, g.voters(), func(id pinetree.NodeID) policy.Health {
		n := p.cluster.find(id)
		if n == nil || p.loss(g.replica(id)).why != "" {
			return policy.Dead
		}
		return n.Health
	})
	if err != nil {
		return err.Error()
	}
	return ""
}

// replica finds a member's; one that knows nothing when there is none.
func (g *Group) replica(id pinetree.NodeID) Replica {
	if at := slices.IndexFunc(g.Replicas, func(r Replica) bool { return r.Node == id }); at >= 0 {
		return g.Replicas[at]
	}
	return Replica{Node: id}
}

func (g *Group) voters() []pinetree.NodeID {
	var list []pinetree.NodeID
	for _, r := range g.Replicas {
		if r.Votes {
			list = append(list, r.Node)
		}
	}
	return list
}
