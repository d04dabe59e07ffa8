package lease

import (
	"fmt"
	"math"
	"time"

	"github.com/pinetree-db/pinetree"
)

// Rules bound what a Granter gives and how long it waits.
type Rules struct {
	// Duration is how long a grant lasts.
	Duration time.Duration
	// MaxDrift bounds by which fraction any machine's clock may run faster or
	// slower than true time, such as 0.01.
	MaxDrift float64
	// MaxQuorumAge is how long ago a quorum may have answered the leader.
	MaxQuorumAge time.Duration
	// MaxFsyncPending is for how long the oldest unfinished fsync may wait.
	MaxFsyncPending time.Duration
	// MaxFsyncAge is how long ago the last fsync may have finished. Zero does
	// not ask, for nodes that do not write when they are idle.
	MaxFsyncAge time.Duration
}

// Wait is how long a granter waits after its last answer until the lease is
// surely over at the holder: the duration lengthened by the drift bound.
func (r Rules) Wait() time.Duration {
	return time.Duration(math.Ceil(float64(r.Duration) * (1 + r.MaxDrift)))
}

// Record is what the managers durably remember of one group. It is written
// before anything is granted on its strength.
type Record struct {
	// Appointment is the newest one, and Node whom it names.
	Appointment pinetree.AppointmentID
	Node        pinetree.NodeID
	// Holder is the node that was last activated: the only one that may hold
	// the lease. Held is the appointment and Term the raft term it was in.
	Holder pinetree.NodeID
	Held   pinetree.AppointmentID
	Term   pinetree.RaftTerm
}

// Activated tells whether the newest appointment was ever granted a lease.
func (r Record) Activated() bool { return r.Appointment != 0 && r.Held == r.Appointment }

// Claim is what a leader puts forward to be granted the lease. The ages are as
// of the instant at which the claim is decided.
type Claim struct {
	Node         pinetree.NodeID
	Appointment  pinetree.AppointmentID
	Term         pinetree.RaftTerm
	QuorumAge    time.Duration
	FsyncAge     time.Duration
	FsyncPending time.Duration
}

// Verdict is the answer to a claim.
type Verdict uint8

const (
	// Granted: the grant may be sent.
	Granted Verdict = iota
	// RecordFirst: write Activation(claim) durably, call Recorded, ask again.
	RecordFirst
	// Superseded: the claim is of another appointment or node than the newest.
	Superseded
	// WasReleased: the appointment's lease was given up for good.
	WasReleased
	// OldTerm: a leader of that raft term or a later one was activated.
	OldTerm
	// QuorumStale: no quorum answered the leader for too long.
	QuorumStale
	// DiskStale: the leader's disk does not finish its fsyncs.
	DiskStale
	// HeldElsewhere: another node's lease is not surely over.
	HeldElsewhere
)

// String says the verdict in the words of listings and logs.
func (v Verdict) String() string {
	switch v {
	case Granted:
		return "granted"
	case RecordFirst:
		return "activation is being recorded"
	case Superseded:
		return "another appointment is in force"
	case WasReleased:
		return "the lease of this appointment was released"
	case OldTerm:
		return "a leader of this or a later raft term was activated"
	case QuorumStale:
		return "the leader has not heard from a quorum for too long"
	case DiskStale:
		return "the leader's disk does not finish its fsyncs"
	case HeldElsewhere:
		return "the lease of the leader before is not over"
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// Granter is the manager's half of the lease of one group. It belongs to the
// goroutine that owns the group in the active manager, and is a plain value.
//
// Invariants:
//
//	nobody but record.Holder is granted anything before free
//	free is at least Wait after the last answer to record.Holder, unless it
//	released that lease
//	the record's appointment and raft term never fall
type Granter struct {
	rules    Rules
	record   Record
	released pinetree.AppointmentID // no grant of it or of one before it
	granted  pinetree.AppointmentID // newest that may have been granted
	free     Instant                // from here on other nodes may be activated
}

// NewGranter goes on from what is recorded. Since is the instant from which
// surely no other manager grants: whatever was granted until then is waited
// for, except that the recorded holder itself may go on at once.
func NewGranter(rules Rules, record Record, since Instant) Granter {
	g := Granter{rules: rules, record: record, granted: record.Held}
	if record.Holder != 0 {
		g.free = since.Add(rules.Wait())
	}
	return g
}

// Record is what was last handed to Recorded.
func (g *Granter) Record() Record { return g.record }

// Recorded takes over what is durable by now. Records older than the known one
// are ignored.
func (g *Granter) Recorded(r Record) {
	if r.Appointment >= g.record.Appointment && r.Held >= g.record.Held && r.Term >= g.record.Term {
		g.record = r
	}
}

// Activation is the record to be written before the claim can be granted.
func (g *Granter) Activation(c Claim) Record {
	r := g.record
	r.Holder, r.Held, r.Term = c.Node, c.Appointment, c.Term
	return r
}

// Ask decides a claim. The grant is to be sent at once, followed by Answered;
// its group is left to the caller.
func (g *Granter) Ask(c Claim, now Instant) (Grant, Verdict) {
	if v := g.judge(c, now); v != Granted {
		return Grant{}, v
	}
	g.granted = max(g.granted, c.Appointment)
	g.free = max(g.free, now.Add(g.rules.Wait()))
	return Grant{Appointment: c.Appointment, Term: c.Term, Duration: g.rules.Duration}, Granted
}

func (g *Granter) judge(c Claim, now Instant) Verdict {
	r := g.record
	switch {
	case c.Appointment != r.Appointment || c.Node != r.Node || c.Node == 0 || c.Term == 0:
		return Superseded
	case c.Appointment <= g.released:
		return WasReleased
	case c.Term < r.Term || c.Term == r.Term && c.Node != r.Holder:
		return OldTerm
	case c.QuorumAge > g.rules.MaxQuorumAge:
		return QuorumStale
	case c.FsyncPending > g.rules.MaxFsyncPending,
		g.rules.MaxFsyncAge > 0 && c.FsyncAge > g.rules.MaxFsyncAge:
		return DiskStale
	case !g.Free(c.Node, now):
		return HeldElsewhere
	case c.Node != r.Holder || c.Appointment != r.Held || c.Term != r.Term:
		return RecordFirst
	}
	return Granted
}

// Answered tells that the answer with a grant of the appointment has left, and
// counts from here. A release that was acknowledged meanwhile stands.
func (g *Granter) Answered(id pinetree.AppointmentID, now Instant) {
	if id > g.released {
		g.free = max(g.free, now.Add(g.rules.Wait()))
	}
}

// Release takes note that the node has given up the lease of the appointment
// and of all before it for good. If that is the lease that was granted last,
// the wait is over at once.
func (g *Granter) Release(node pinetree.NodeID, id pinetree.AppointmentID) {
	if node != g.record.Holder {
		return
	}
	g.released = max(g.released, id)
	if g.granted <= g.released {
		g.free = 0
	}
}

// Free tells whether the node may be activated: it is the recorded holder
// itself, or nobody else can hold the lease any more.
func (g *Granter) Free(node pinetree.NodeID, now Instant) bool {
	return node == g.record.Holder || now >= g.free
}

// Left is for how much longer the holder may hold the lease, by this count.
func (g *Granter) Left(now Instant) time.Duration { return max(0, g.free.Sub(now)) }
