package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
)

// Account is a group's situation and what its manager does about it.
type Account struct {
	Situation
	Thresholds Thresholds
	// Signs are the signs of life of the members' nodes.
	Signs map[pinetree.NodeID]Sign
	// Office tells whether the manager is sure of its office, so that it may grant.
	Office bool
	// Verdict is the answer to the last claim of the appointed leader, if Claimed.
	Verdict lease.Verdict
	Claimed bool
	// Left is for how much longer the recorded holder may hold the lease.
	Left time.Duration
	// Doing is the operation under way, empty when there is none.
	Doing string
	// Failed is why the last operation failed, and Again when the next is tried.
	Failed string
	Again  time.Duration
	// Change is the change of replicas under way, Volumes how many volumes the group
	// does not have yet or still has, and Deleted how many of them are the latter.
	Change           string
	Volumes, Deleted int
}

// Sign is what is known of a node that may not live.
type Sign struct {
	Silence time.Duration
	Refused bool // its address refuses connections
}

// Explain tells in sentences why a group has or has no leader, quorum and lease,
// and what its manager waits for.
func Explain(a Account) []string {
	words := []string{a.leaderInWords(), a.quorumInWords(), a.leaseInWords()}
	if !a.Created {
		words = append(words, fmt.Sprintf("it is being made: %d of %d replicas are known to be there", a.Placed, len(a.Members)))
	}
	for _, m := range a.Members {
		if m.Avoid != "" {
			words = append(words, fmt.Sprintf("node %d is not to lead as long as another can: %s", m.Node, m.Avoid))
		}
	}
	if a.Held != "" {
		words = append(words, "silence proves nothing now: "+a.Held)
	}
	if a.Change != "" {
		words = append(words, "its replicas are being changed: "+a.Change)
	}
	if n := a.Volumes - a.Deleted; n > 0 {
		words = append(words, fmt.Sprintf("%d of its volumes wait to be made on its leader", n))
	}
	if a.Deleted > 0 {
		words = append(words, fmt.Sprintf("%d of its volumes wait to be deleted on its leader", a.Deleted))
	}
	switch {
	case a.Doing != "":
		words = append(words, "under way: "+a.Doing)
	case a.Failed != "" && a.Again > 0:
		words = append(words, fmt.Sprintf("the last try failed: %s; the next one is in %s", a.Failed, inTime(a.Again)))
	case a.Failed != "":
		words = append(words, "the last try failed: "+a.Failed)
	}
	return words
}

func (a Account) leaderInWords() string {
	leader, found := a.leader()
	if !found {
		return "no leader: " + a.absenceInWords()
	}
	s := leader.Status
	words := fmt.Sprintf("node %d leads in raft term %d under appointment %d", leader.Node, s.GetRaftTerm(), s.GetAppointment())
	if leader.Node != a.Record.Node || pinetree.AppointmentID(s.GetAppointment()) != a.Record.Appointment {
		return fmt.Sprintf("%s, and appointment %d, the newest, is node %d's", words, a.Record.Appointment, a.Record.Node)
	}
	if ill := a.illness(leader); ill.Action != Rest {
		return words + ", and is to be replaced: " + ill.Reason
	}
	if why := a.complaint(leader, leader.Age, 1); why != "" {
		words += fmt.Sprintf("; %s, and no other replica is healthier", why)
	}
	switch {
	case leader.Health != Alive:
		words += fmt.Sprintf("; the node %s", a.awayInWords(leader))
	case !s.GetReady():
		words += "; it has not replayed an entry of that raft term yet"
	case !s.GetActivated():
		words += "; it acknowledges nothing before its first lease"
	case s.GetQuiet():
		words += "; nobody wants anything of the group, so it rests"
	}
	return words
}

// absenceInWords says why nobody leads, and what happens next.
func (a Account) absenceInWords() string {
	if a.Record.Node == 0 {
		return "none was ever appointed"
	}
	at := slices.IndexFunc(a.Members, func(m Member) bool { return m.Node == a.Record.Node })
	if at < 0 {
		return fmt.Sprintf("node %d, which was to lead, has no replica any more", a.Record.Node)
	}
	m := a.Members[at]
	who := fmt.Sprintf("node %d, which was to lead,", m.Node)
	switch {
	case m.Health == Dead:
		return who + " " + a.awayInWords(m)
	case m.Health == Silent:
		return fmt.Sprintf("%s %s; then the others are asked (%s)", who, a.awayInWords(m), a.needed())
	case !m.Reported:
		return who + " has not reported to this manager yet"
	case m.Status == nil:
		return who + " does not know of a replica of the group"
	case m.Status.GetStopped() != "":
		return who + " has stopped its replica: " + m.Status.GetStopped()
	case a.Doing != "":
		return who + " does not yet"
	}
	return who + " does not"
}

// awayInWords says since when a node was not heard of.
func (a Account) awayInWords(m Member) string {
	sign := a.Signs[m.Node]
	switch {
	case sign.Refused:
		return fmt.Sprintf("refuses connections, and was last heard of %s ago", inTime(sign.Silence))
	case m.Health == Dead:
		return fmt.Sprintf("is dead, silent for %s", inTime(sign.Silence))
	}
	return fmt.Sprintf("is silent for %s and dead at %s", inTime(sign.Silence), inTime(a.Thresholds.Dead))
}

// voters are the members that have a vote, by the newest log that is known.
func (a Account) voters() []Member {
	var known []uint64
	var at uint64
	for _, m := range a.Members {
		if s := m.Status; s.GetMembersAt() >= at && len(s.GetVoters()) > 0 {
			known, at = s.GetVoters(), s.GetMembersAt()
		}
	}
	if known == nil {
		return a.Members
	}
	return slices.DeleteFunc(slices.Clone(a.Members), func(m Member) bool { return !slices.Contains(known, uint64(m.Node)) })
}

func (a Account) needed() string {
	n := len(a.voters())
	return fmt.Sprintf("%d of %d needed", n/2+1, n)
}

// quorumInWords counts the voters that answer the manager, and says what is the
// matter with the others. A leader may reach others than the manager does.
func (a Account) quorumInWords() string {
	voters := a.voters()
	var missing []string
	for _, m := range voters {
		if why := a.missing(m); why != "" {
			missing = append(missing, why)
		}
	}
	n := len(voters) - len(missing)
	words := fmt.Sprintf("quorum: %d of %d replicas answer", n, len(voters))
	if n < len(voters)/2+1 {
		words = fmt.Sprintf("no quorum: %d of %d replicas answer, and %d are needed", n, len(voters), len(voters)/2+1)
	}
	if len(missing) > 0 {
		words += ": " + strings.Join(missing, "; ")
	}
	if leader, found := a.leader(); found && !leader.Status.GetQuiet() && leader.Health == Alive {
		words += fmt.Sprintf("; the leader last heard from a quorum %s ago",
			inTime(time.Duration(leader.Status.GetQuorumAgeMs())*time.Millisecond+leader.Age))
	}
	return words
}

// missing says why a voter does not answer, or nothing.
func (a Account) missing(m Member) string {
	switch {
	case m.Health != Alive:
		return fmt.Sprintf("node %d %s", m.Node, a.awayInWords(m))
	case !m.Reported:
		return fmt.Sprintf("node %d has not reported to this manager yet", m.Node)
	case m.Status == nil:
		return fmt.Sprintf("node %d does not know of a replica", m.Node)
	case m.Status.GetStopped() != "":
		return fmt.Sprintf("the replica on node %d stopped: %s", m.Node, m.Status.GetStopped())
	case m.Status.GetBlank():
		return fmt.Sprintf("the replica on node %d is blank and waits for a snapshot", m.Node)
	}
	return ""
}

func (a Account) leaseInWords() string {
	r := a.Record
	leader, led := a.leader()
	quiet := led && leader.Status.GetQuiet()
	switch {
	case !a.Office:
		return "no lease is granted: the managers' store does not confirm this manager's office"
	case a.Left > 0 && r.Activated() && r.Holder == r.Node:
		return fmt.Sprintf("node %d holds the lease for another %s, by the manager's count", r.Holder, inTime(a.Left))
	case a.Left > 0:
		return fmt.Sprintf("the next lease waits for that of node %d to be given back, or to end in %s", r.Holder, inTime(a.Left))
	case quiet:
		return "no lease, and none is needed while the group rests"
	case !led:
		return "no lease: nobody leads"
	case a.Claimed && a.Verdict != lease.Granted:
		return "no lease: " + a.Verdict.String()
	}
	return fmt.Sprintf("no lease: node %d has not asked for it lately", r.Node)
}

// inTime rounds a duration to what a person reads.
func inTime(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// Inputs tells in words what a leader was chosen by.
func Inputs(answers []Answer) string {
	var words []string
	for _, a := range answers {
		s := a.Status
		switch {
		case s == nil:
			words = append(words, fmt.Sprintf("node %d did not answer", a.Node))
		case s.GetStopped() != "":
			words = append(words, fmt.Sprintf("node %d has stopped", a.Node))
		default:
			text := fmt.Sprintf("node %d ends at (%d, %d)", a.Node, s.GetLastTerm(), s.GetLastIndex())
			if a.Avoid != "" {
				text += " and is to be avoided, for " + a.Avoid
			}
			words = append(words, text)
		}
	}
	return strings.Join(words, ", ")
}
