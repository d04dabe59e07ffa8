package upkeep

import (
	"fmt"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
)

// Stopping is what would become of the cluster if a node stopped now.
type Stopping struct {
	// Reasons say what would be lost; without any it is safe to stop the node.
	Reasons []string
	// Notes say what would happen and is no loss.
	Notes []string
}

// Stop says what would be lost if a node stopped now. Nodes that are silent, dead,
// draining or leaving do not count as there, nor do lost replicas and learners,
// and while a joint change is half done a majority of each half is needed.
func Stop(c Cluster, id pinetree.NodeID) Stopping {
	s := stopping{replicaPlanner: replicaPlanner{cluster: &c}, id: id}
	if n := c.find(id); n != nil && n.Health == policy.Dead {
		s.notes = append(s.notes, fmt.Sprintf("node %d is dead already", id))
	}
	for i := range c.Groups {
		s.look(&c.Groups[i])
	}
	if s.leads > 0 {
		s.notes = append(s.notes, fmt.Sprintf("%s be without a leader until another one is appointed; drain node %d first to move them without that", many(s.leads, "group that it leads would", "groups that it leads would"), id))
	}
	return Stopping{Reasons: s.reasons.words(), Notes: s.notes}
}

// stopping looks at what the stop of a node would do.
type stopping struct {
	replicaPlanner
	id      pinetree.NodeID
	leads   int // groups that another replica would lead soon
	reasons reasons
	notes   []string
}

func (s *stopping) look(g *Group) {
	here := g.replica(s.id)
	switch {
	case here.Votes || here.Before:
	case g.Changing && g.Change.Add == s.id:
		s.notes = append(s.notes, fmt.Sprintf("group %d is about to %s, which would wait", g.ID, g.Change))
		return
	default:
		return
	}
	lost := s.quorum(g, here.Votes, func(r Replica) bool { return r.Votes }) ||
		s.quorum(g, here.Before, func(r Replica) bool { return r.Before })
	if lost {
		return
	}
	if zone := s.onlyZone(g); zone != nil {
		s.reasons.add("would have all its replicas in one zone", g.ID, fmt.Sprintf("%q", *zone))
	}
	if g.Leader == s.id {
		if why := s.successor(g); why != "" {
			s.reasons.add("would lose its lease, for no other replica can lead it", g.ID, why)
			return
		}
		s.leads++
	}
}

// gone says why a replica does not count as there; empty when it does.
func (s *stopping) gone(r Replica) string {
	n := s.cluster.find(r.Node)
	switch {
	case r.Node == s.id:
		return "would have stopped"
	case n == nil:
		return "is not known"
	case n.Health != policy.Alive || n.Draining || n.Leaving:
		return n.condition()
	case r.Lost != "":
		return "lost its replica: " + r.Lost
	}
	return ""
}

// quorum tells whether one half of the voters would lose its majority.
func (s *stopping) quorum(g *Group, concerned bool, half func(Replica) bool) bool {
	if !concerned {
		return false
	}
	all, left := 0, 0
	var others []string
	for _, r := range g.Replicas {
		if !half(r) {
			continue
		}
		all++
		why := s.gone(r)
		if why == "" {
			left++
		} else if r.Node != s.id {
			others = append(others, fmt.Sprintf("node %d %s", r.Node, why))
		}
	}
	switch {
	case left > all/2:
		return false
	case all == 1:
		s.reasons.add("would lose its quorum", g.ID, "it has its only replica here")
	default:
		words := fmt.Sprintf("%d of %d replicas would be left", left, all)
		if len(others) > 0 {
			words += ", for " + list(others)
		}
		s.reasons.add("would lose its quorum", g.ID, words)
	}
	return true
}

// onlyZone is the zone of all replicas that would be left of a group that spans
// more.
func (s *stopping) onlyZone(g *Group) *string {
	all, left := map[string]bool{}, map[string]bool{}
	var last *string
	for _, r := range g.Replicas {
		n := s.cluster.find(r.Node)
		if !r.Votes || n == nil {
			continue
		}
		all[n.Zone] = true
		if s.gone(r) == "" {
			left[n.Zone], last = true, &n.Zone
		}
	}
	if len(all) < 2 || len(left) != 1 {
		return nil
	}
	return last
}

// successor says why nobody else could lead a group, or nothing.
func (s *stopping) successor(g *Group) string {
	var refused []string
	for _, r := range g.Replicas {
		if !r.Votes || r.Node == s.id {
			continue
		}
		why := s.gone(r)
		if why == "" && r.Unfit == "" {
			return ""
		}
		if why == "" {
			why = "cannot: " + r.Unfit
		}
		refused = append(refused, fmt.Sprintf("node %d %s", r.Node, why))
	}
	return list(refused)
}

// reasons are kept by what they have in common, so that a node with many groups
// does not drown the reader.
type reasons struct {
	kinds  []string
	groups map[string][]string
}

func (r *reasons) add(kind string, group pinetree.GroupID, why string) {
	if r.groups == nil {
		r.groups = map[string][]string{}
	}
	if !slices.Contains(r.kinds, kind) {
		r.kinds = append(r.kinds, kind)
	}
	r.groups[kind] = append(r.groups[kind], fmt.Sprintf("group %d %s: %s", group, kind, why))
}

// words are at most maxWords of each kind.
func (r *reasons) words() []string {
	var all []string
	for _, kind := range r.kinds {
		of := r.groups[kind]
		all = append(all, of[:min(len(of), maxWords)]...)
		if more := len(of) - maxWords; more > 0 {
			all = append(all, fmt.Sprintf("each of %s %s", many(more, "more group", "more groups"), kind))
		}
	}
	return all
}

func many(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// CannotLeave says why a node cannot be emptied, so that it could leave the
// cluster: the nodes that would remain cannot hold some group's replicas, or a
// group has no quorum to change its members. Nothing when it can.
func CannotLeave(c Cluster, id pinetree.NodeID) []string {
	p := replicaPlanner{cluster: &c}
	remaining := 0
	for _, n := range c.Nodes {
		if n.ID != id && n.Health != policy.Dead && !n.Leaving {
			remaining++
		}
	}
	var found reasons
	for i := range c.Groups {
		g := &c.Groups[i]
		if !g.replica(id).Votes {
			continue
		}
		voters := g.voters()
		usable := 0
		for _, r := range g.Replicas {
			if r.Votes && p.loss(r).why == "" {
				usable++
			}
		}
		if len(voters) > remaining {
			found.add("would not have enough nodes", g.ID, fmt.Sprintf("it has %d replicas, and %s would remain; start another node first", len(voters), many(remaining, "live node", "live nodes")))
		} else if usable <= len(voters)/2 {
			found.add("has no quorum, without which no replica can be put elsewhere", g.ID, fmt.Sprintf("%d of %d replicas are of use; start the nodes of the others", usable, len(voters)))
		}
	}
	return found.words()
}
