package walk

import (
	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
)

// Rule is one of those that leases rest on. A walk may leave one out, to see
// that it finds what comes of that.
type Rule uint8

// The rules.
const (
	Everything        Rule = iota // no rule is left out
	Lease                         // a default read needs one
	Activation                    // a leader that was never granted anything acknowledges nothing
	Wait                          // the manager waits until the lease before is over
	Apply                         // a read waits until the commit index is applied
	CheckPerRead                  // the lease is checked at each read
	SuspendedTime                 // clocks run while the machine pauses
	WaitAfterFailover             // so does a new manager
	CountFromBefore               // the holder counts from before it asked
	DriftBound                    // both count with the bound
	IndexGate                     // a leader that is not activated answers no quorum read
	CommitGate                    // nor commits
	ReleaseFence                  // no grant of a released appointment counts
	ReleaseAnswer                 // a release counts when the holder says so
	SameTerm                      // index and lease are of one raft term
	OwnTerm                       // a leader has committed in its own raft term
	Recorded                      // an activation is recorded before it is granted
	Claim                         // a manager grants only while its office is sure
	Swap                          // and writes only while it is in office
	rules
)

// String names the rule.
func (r Rule) String() string {
	return [...]string{"everything", "lease", "activation", "wait", "apply", "check per read", "suspended time",
		"wait after failover", "count from before", "drift bound", "index gate", "commit gate", "release fence",
		"release answer", "same term", "own term", "recorded", "claim", "swap"}[r]
}

// Limits bound a walk. Clocks tick; the first leader has appointment 1 and leads
// in raft term 1.
type Limits struct {
	Ticks, Appointments, Terms, Writes, Restarts, Failovers int8
	// Recovery looks at what comes of each state when nothing goes wrong any more.
	Recovery bool
	// Without is the rule that is left out.
	Without Rule
}

// state is all there is. It is comparable, so that no state is visited twice.
type state struct {
	ticks, restarts int8
	term            pinetree.RaftTerm // the newest one
	length          int8              // appends that are on a quorum
	must            int8              // what a fresh read that begins now must reflect
	reads           reading
	nodes           [2]node
	managers        [2]manager
	stored          lease.Record // in etcd
	office          int8         // in etcd: which manager holds it
}

// node is a replica that may lead, as far as leases go.
type node struct {
	holder  lease.Holder
	leads   pinetree.RaftTerm // it believes so; zero when not
	reached int8              // on a quorum of its own raft term: zero nothing, else one and length
	commit  int8              // what it knows to be committed
	ready   bool              // an entry of its own raft term among that
	slept   lease.Instant     // for how long its clock stood still
	// What is on its way to it. Zero is nothing.
	order, release pinetree.AppointmentID
	grant          lease.Grant
	asked          lease.Instant // for the grant
}

// manager is one that believes to be in office, or not.
type manager struct {
	believes bool
	writing  bool          // next is written, and it has not heard of it
	claimed  lease.Instant // it grants until here
	granter  lease.Granter
	next     lease.Record
}

// reading is a read that takes the index before it looks at the lease. Only
// without SameTerm does it take more than a step.
type reading struct {
	node  int8 // one and the node's number; zero when there is none
	index int8
	wants int8
}

// The durations: a tick is two units of true time, of which a clock counts one or
// three, so the drift bound is a half.
const (
	duration = 2
	maxDrift = 0.5
	claim    = 2 // for how long an office is sure after it was confirmed, in true time
	slow     = 1
	fast     = 3
	start    = 1000
)

func (l Limits) rules() lease.Rules { return lease.Rules{Duration: duration, MaxDrift: l.drift()} }

func (l Limits) drift() float64 {
	if l.Without == DriftBound {
		return 0
	}
	return maxDrift
}

// begin is a group whose leader was activated and holds no lease yet.
func (l Limits) begin() state {
	first := lease.Record{Appointment: 1, Node: 1, Holder: 1, Held: 1, Term: 1}
	s := state{term: 1, stored: first}
	for i := range s.nodes {
		s.nodes[i].holder = lease.NewHolder(l.drift())
	}
	n := &s.nodes[0]
	_ = n.holder.Appoint(1)
	n.leads, n.reached, n.ready = 1, 1, true
	m := &s.managers[0]
	m.believes = true
	m.granter = lease.NewGranter(l.rules(), first, 0)
	return s
}
