package policy

import (
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Member is one voter of a group as its manager sees it.
type Member struct {
	Node   pinetree.NodeID
	Health Health
	// Reported tells that the node told its state to this manager.
	Reported bool
	// Status is what it last said of its replica; nil when it said nothing.
	Status *wirepb.ReplicaStatus
	// Age is how old that is, and FsyncPending for how long an fsync of the
	// node had been waiting then.
	Age, FsyncPending time.Duration
	// Space is the mark that the free space of its disk has fallen below.
	Space string
	// Slow says at what the node has been slower than its peers for long; empty
	// when it is not.
	Slow string
	// Avoid is why the node is not to lead as long as another can.
	Avoid string
}

// leads tells whether the member believes to lead.
func (m Member) leads() bool {
	return m.Status != nil && m.Health != Dead && m.Status.GetLeader() && m.Status.GetStopped() == ""
}

// Situation is all that is known of a group when it is looked at.
type Situation struct {
	Record  lease.Record
	Created bool // every voter has its replica
	Placed  int  // how many have, as far as this manager knows
	Members []Member
	// Sick is how long a leader may be without a quorum or a disk, and Stall for
	// how long it may replay nothing of what is committed.
	Sick, Stall time.Duration
	// Held is why what was not heard proves nothing now; empty when it does.
	Held string
}

// Action is what a group needs.
type Action uint8

const (
	// Rest: nothing, now.
	Rest Action = iota
	// MakeReplicas: voters without a replica are to make theirs.
	MakeReplicas
	// MakeVolumes: the leader is to be told of volumes.
	MakeVolumes
	// Adopt: a live leader is to be appointed as what it is.
	Adopt
	// Elect: a leader is to be chosen and appointed.
	Elect
	// Replace: a leader that still can is to hand over to a healthier replica.
	Replace
)

// String says the action in the words of logs.
func (a Action) String() string {
	return [...]string{"do nothing", "make replicas", "make volumes", "adopt the leader", "appoint a leader", "replace the leader"}[a]
}

// Step is an action with its reason. With Rest, an empty reason means that all
// is well, and any other says what is waited for.
type Step struct {
	Action Action
	Node   pinetree.NodeID // Adopt: the leader; Elect: whom not to choose; Replace: the leader
	Reason string
	// Sick tells that Node loses the leadership for being sick, and Hard that with
	// what it has it cannot lead, so that anybody is better.
	Sick, Hard bool
	// To are the replicas that Node may hand over to.
	To []pinetree.NodeID
}

// Decide says what a group needs.
func Decide(s Situation) Step {
	makeReplicas := Step{Action: MakeReplicas, Reason: fmt.Sprintf("%d of %d replicas are made", s.Placed, len(s.Members))}
	if !s.Created && s.Placed <= len(s.Members)/2 {
		return makeReplicas
	}
	leader, found := s.leader()
	if !found {
		return s.withoutLeader()
	}
	ill := s.illness(leader)
	ours := leader.Node == s.Record.Node && pinetree.AppointmentID(leader.Status.GetAppointment()) == s.Record.Appointment
	if !ours && ill.Action == Elect {
		return s.withoutLeader() // to adopt it would help nobody
	}
	if !ours {
		if leader.Health != Alive {
			return Step{Reason: fmt.Sprintf("node %d leads, was not asked to, and is %s", leader.Node, leader.Health)}
		}
		return Step{Action: Adopt, Node: leader.Node, Reason: fmt.Sprintf("node %d leads in raft term %d under appointment %d, and %d is in force",
			leader.Node, leader.Status.GetRaftTerm(), leader.Status.GetAppointment(), s.Record.Appointment)}
	}
	if ill.Action == Rest && !s.Created {
		return makeReplicas
	}
	return ill
}

// leader is the member that leads in the highest raft term that any leader was
// seen in. A leader of an older one is deposed and does not know it.
func (s Situation) leader() (Member, bool) {
	var best Member
	highest := uint64(s.Record.Term)
	for _, m := range s.Members {
		if m.leads() && (best.Status == nil || m.Status.GetRaftTerm() > best.Status.GetRaftTerm()) {
			best = m
		}
		if m.Status.GetLeader() {
			highest = max(highest, m.Status.GetRaftTerm())
		}
	}
	return best, best.Status != nil && best.Status.GetRaftTerm() >= highest
}

func (s Situation) withoutLeader() Step {
	if s.Record.Node == 0 {
		return Step{Action: Elect, Reason: "no leader was ever appointed"}
	}
	for _, m := range s.Members {
		if m.Node != s.Record.Node {
			continue
		}
		switch {
		case m.Health == Dead:
			return Step{Action: Elect, Reason: fmt.Sprintf("node %d, which was to lead, is dead", m.Node)}
		case m.Health == Silent:
			return Step{Reason: fmt.Sprintf("node %d, which was to lead, is silent", m.Node)}
		case !m.Reported:
			return Step{Reason: fmt.Sprintf("node %d, which was to lead, has not reported yet", m.Node)}
		case m.Status.GetStopped() != "":
			return Step{Action: Elect, Reason: fmt.Sprintf("the replica on node %d stopped: %s", m.Node, m.Status.GetStopped())}
		default:
			return Step{Action: Elect, Reason: fmt.Sprintf("node %d, which was to lead, does not", m.Node)}
		}
	}
	return Step{Action: Elect, Reason: fmt.Sprintf("node %d, which was to lead, is no voter", s.Record.Node)}
}
