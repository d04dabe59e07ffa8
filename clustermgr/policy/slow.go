package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// SlowRules say when a node is slower than its peers.
type SlowRules struct {
	// Ratio is how many times as long as its peers it must take, and Fsync,
	// Commit and Apply are how long at least: nobody suffers from less.
	Ratio                float64
	Fsync, Commit, Apply time.Duration
	// Looks is at how many looks in a row it must be found so.
	Looks int
}

// Paces are how long the nodes take for what they all do, as of one look. A node
// is compared with the median of others that do the same, the slower one of two,
// so that nobody is slow when half of the others are as well.
type Paces struct {
	fsync  map[pinetree.NodeID]time.Duration
	commit map[pinetree.NodeID][]time.Duration
	replay map[pinetree.NodeID]replay
}

// replay is the group that a node leads and is furthest behind the others in
// replaying.
type replay struct {
	group       uint64
	own, others time.Duration
}

func (r replay) ratio() float64 { return float64(r.own) / float64(max(r.others, 1)) }

// NewPaces makes an empty comparison.
func NewPaces() *Paces {
	return &Paces{fsync: map[pinetree.NodeID]time.Duration{}, commit: map[pinetree.NodeID][]time.Duration{}, replay: map[pinetree.NodeID]replay{}}
}

// Node adds a node that lives, with the usual time of its fsyncs.
func (p *Paces) Node(id pinetree.NodeID, fsync time.Duration) { p.fsync[id] = fsync }

// Group adds what the leader of a group and its other replicas report.
func (p *Paces) Group(leader pinetree.NodeID, own *wirepb.ReplicaStatus, others []*wirepb.ReplicaStatus) {
	if us := own.GetCommitUs(); us > 0 {
		p.commit[leader] = append(p.commit[leader], micros(us))
	}
	var peers []time.Duration
	for _, s := range others {
		if s.GetApplyUs() > 0 {
			peers = append(peers, micros(s.GetApplyUs()))
		}
	}
	if own.GetApplyUs() == 0 || len(peers) == 0 {
		return
	}
	found := replay{own.GetGroup(), micros(own.GetApplyUs()), median(peers)}
	if worst, known := p.replay[leader]; !known || found.ratio() > worst.ratio() {
		p.replay[leader] = found
	}
}

// Slower says of each node at what it is slower than its peers. One that was
// found slow before is still slow above half of the bounds, so that it is not
// slow and well by turns.
func (p *Paces) Slower(r SlowRules, before func(pinetree.NodeID) bool) map[pinetree.NodeID]string {
	found := map[pinetree.NodeID]string{}
	for id := range p.fsync {
		bounds := r
		if before(id) {
			bounds.Ratio, bounds.Fsync, bounds.Commit, bounds.Apply = 1+(r.Ratio-1)/2, r.Fsync/2, r.Commit/2, r.Apply/2
		}
		if why := p.slower(id, bounds); why != "" {
			found[id] = why
		}
	}
	return found
}

func (p *Paces) slower(id pinetree.NodeID, r SlowRules) string {
	over := func(own, others, least time.Duration) bool {
		return others > 0 && own > least && float64(own) > r.Ratio*float64(others)
	}
	var fsyncs, commits []time.Duration
	for other := range p.fsync {
		if other == id {
			continue
		}
		if d := p.fsync[other]; d > 0 {
			fsyncs = append(fsyncs, d)
		}
		if led := p.commit[other]; len(led) > 0 {
			commits = append(commits, median(led))
		}
	}
	if own, others := p.fsync[id], median(fsyncs); over(own, others, r.Fsync) {
		return fmt.Sprintf("an fsync takes %v, and %v on the other nodes", words(own), words(others))
	}
	if own, others := median(p.commit[id]), median(commits); over(own, others, r.Commit) {
		return fmt.Sprintf("as a leader it commits in %v, and the other nodes in %v", words(own), words(others))
	}
	if a := p.replay[id]; over(a.own, a.others, r.Apply) {
		return fmt.Sprintf("it replays group %d in %v, and the group's other replicas do in %v", a.group, words(a.own), words(a.others))
	}
	return ""
}

// median of some durations, the longer one of the middle two; zero of none.
func median(of []time.Duration) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

func micros(us uint32) time.Duration { return time.Duration(us) * time.Microsecond }

func words(d time.Duration) time.Duration { return d.Round(max(d/100, time.Microsecond)) }

// Patience is for how long each node has been slow. It belongs to whoever looks.
type Patience struct {
	looks map[pinetree.NodeID]int
	slow  map[pinetree.NodeID]string
}

// Slow says at what a node is slow, and has been for long enough to be believed;
// nothing when it is not.
func (p *Patience) Slow(id pinetree.NodeID) string { return p.slow[id] }

// Look takes in a look at all nodes that live. Confined are those that are in
// quarantine: together with them no more than a third of the nodes, but at least
// one, are ever slow, those first that have been for longest. The others carry
// on, for whoever took the load of more would be the next to be slow.
func (p *Patience) Look(paces *Paces, r SlowRules, confined func(pinetree.NodeID) bool) {
	slower := paces.Slower(r, func(id pinetree.NodeID) bool { return p.slow[id] != "" })
	looks, slow := map[pinetree.NodeID]int{}, map[pinetree.NodeID]string{}
	room := max(1, len(paces.fsync)/3)
	for id := range paces.fsync {
		if confined(id) {
			room--
		}
	}
	longest := slices.SortedFunc(maps.Keys(slower), func(a, b pinetree.NodeID) int {
		return cmp.Or(-cmp.Compare(p.looks[a], p.looks[b]), cmp.Compare(a, b))
	})
	for _, id := range longest {
		looks[id] = p.looks[id] + 1
		switch {
		case looks[id] < r.Looks:
		case confined(id):
			slow[id] = slower[id]
		case room > 0:
			slow[id] = slower[id]
			room--
		}
	}
	p.looks, p.slow = looks, slow
}
