package upkeep

import (
	"fmt"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
)

// maxPauses is how many moves are remembered.
const maxPauses = 64

// Pauses remembers for how long the last planned moves have stopped their groups.
// The zero value is ready.
type Pauses struct{ last []groupPause }

type groupPause struct {
	group pinetree.GroupID
	pause time.Duration
}

// Add takes note of a move that was made.
func (p *Pauses) Add(group pinetree.GroupID, pause time.Duration) {
	if len(p.last) == maxPauses {
		p.last = slices.Delete(p.last, 0, 1)
	}
	p.last = append(p.last, groupPause{group, pause})
}

// Latency is what is known of a group's speed, each zero when nothing is.
type Latency struct {
	Commit time.Duration // from a proposal to its commit, of late
	Cap    time.Duration // after which a move is given up
}

// handOverCommits is how many commits, one after the other, a move is about as
// long as: the last of the old leader, the vote, and the first entry of the new
// one beside the record of its activation.
const handOverCommits = 3

// Predict says how long writers of a group would wait for their next
// acknowledgement if its leader were moved, and from what that was concluded: the
// median of the last moves of the group, if there were three, or else of all
// groups, with the commit that follows; without any, from the time of a commit.
func (p *Pauses) Predict(group pinetree.GroupID, l Latency) (time.Duration, string) {
	var own, all []time.Duration
	for _, g := range p.last {
		all = append(all, g.pause)
		if g.group == group {
			own = append(own, g.pause)
		}
	}
	of := "this group"
	if len(own) < 3 {
		own, of = all, "all groups"
	}
	switch {
	case len(own) > 0:
		slices.Sort(own)
		moves := fmt.Sprintf("%d moves", len(own))
		if len(own) == 1 {
			moves = "move"
		}
		return own[len(own)/2] + l.Commit, fmt.Sprintf("from the last %s of %s and a commit of %v", moves, of, l.Commit)
	case l.Commit > 0:
		return min(handOverCommits*l.Commit, l.Cap) + l.Commit,
			fmt.Sprintf("from a commit of %v of late, for no leader was moved since this manager is the active one", l.Commit)
	}
	return l.Cap, "nothing is known but that a move is given up after that"
}
