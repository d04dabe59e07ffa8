package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
)

// illness says what is to be done about a leader that is not fit to lead, and
// why. One that has no quorum hears nobody, and another one is elected against
// it. One that has still hands over itself, which is faster and loses nothing,
// and only to a replica that is healthier.
func (s Situation) illness(leader Member) Step {
	age := leader.Age
	if s.Held != "" {
		age = 0
	}
	quorum := time.Duration(leader.Status.GetQuorumAgeMs())*time.Millisecond + age
	if quorum > s.Sick && !leader.Status.GetQuiet() {
		return Step{Action: Elect, Node: leader.Node, Sick: true,
			Reason: fmt.Sprintf("node %d leads and has not heard from a quorum for %v", leader.Node, quorum.Round(time.Millisecond))}
	}
	if leader.Health != Alive {
		return Step{}
	}
	why, hard := s.complaint(leader, age, 1), true
	if why == "" && leader.Slow != "" {
		why, hard = "is slower than its peers: "+leader.Slow, false
	}
	if why == "" {
		return Step{}
	}
	to := s.healthier(leader.Node, hard)
	if len(to) == 0 {
		return Step{}
	}
	return Step{Action: Replace, Node: leader.Node, Sick: true, Hard: hard, To: to, Reason: fmt.Sprintf("node %d leads and %s", leader.Node, why)}
}

// complaint says what keeps a replica that has a quorum from leading at all, or
// nothing. Patience is 1 for a leader, and less for one that is to be better.
func (s Situation) complaint(m Member, age time.Duration, patience float64) string {
	limit := func(d time.Duration) time.Duration { return time.Duration(float64(d) * patience) }
	stalled := time.Duration(m.Status.GetApplyStalledMs()) * time.Millisecond
	switch {
	case m.FsyncPending > 0 && m.FsyncPending+age > limit(s.Sick):
		return fmt.Sprintf("its disk has not finished an fsync for %v", (m.FsyncPending + age).Round(time.Millisecond))
	case stalled > 0 && stalled > limit(s.Stall):
		return fmt.Sprintf("has replayed nothing for %v though entries are committed", stalled)
	case m.Space == "stop" || m.Space == "reserve":
		return fmt.Sprintf("its disk is so full that it takes no writes (mark %q)", m.Space)
	}
	return ""
}

// healthier lists the replicas that could lead instead: of those that have nothing
// that keeps a leader from it, not even half of it, those that are not to be
// avoided. When there are none of these, the others are still healthier than a
// leader that cannot lead at all, and no healthier than one that is slow.
func (s Situation) healthier(than pinetree.NodeID, hard bool) []pinetree.NodeID {
	var good, others []pinetree.NodeID
	for _, m := range s.Members {
		status := m.Status
		voter := len(status.GetVoters()) == 0 || slices.Contains(status.GetVoters(), uint64(m.Node))
		switch {
		case m.Node == than || m.Health != Alive || !m.Reported || status == nil || status.GetStopped() != "" ||
			status.GetBlank() || !voter || s.complaint(m, 0, 0.5) != "":
		case m.Avoid == "":
			good = append(good, m.Node)
		case hard:
			others = append(others, m.Node)
		}
	}
	if len(good) > 0 {
		return good
	}
	return others
}
