package lease

import (
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree"
)

// Holder is the storage node's half of the lease of one group, in memory only:
// a restart drops the lease. It belongs to the goroutine that owns the group.
//
// Invariants:
//
//	released never falls, and no grant of an appointment ≤ released is used
//	appointment never falls
//	expiry is counted from before the grant was asked for
type Holder struct {
	maxDrift    float64
	appointment pinetree.AppointmentID // the one this node leads, or is to lead, under
	released    pinetree.AppointmentID
	activated   pinetree.RaftTerm // highest raft term that was ever granted
	granted     Grant             // the last one used; zero when none
	expiry      Instant
}

// NewHolder makes a holder without a lease. MaxDrift bounds by which fraction
// the clocks of two machines may differ in rate, such as 0.01.
func NewHolder(maxDrift float64) Holder { return Holder{maxDrift: maxDrift} }

// Appoint takes note of an appointment of this node.
// pinetree.ErrStaleAppointment when a newer one is known or it was released.
func (h *Holder) Appoint(id pinetree.AppointmentID) error {
	if id < h.appointment || id <= h.released {
		return fmt.Errorf("%w: asked %d, known %d, released %d", pinetree.ErrStaleAppointment, id, h.appointment, h.released)
	}
	h.appointment = id
	return nil
}

// Appointment is the newest one that Appoint took.
func (h *Holder) Appointment() pinetree.AppointmentID { return h.appointment }

// Released is the highest appointment that was given up.
func (h *Holder) Released() pinetree.AppointmentID { return h.released }

// Use takes a grant that was asked for at the given instant by the leader of
// the raft term. It reports whether the grant counts: grants of another term,
// of another appointment than the current one, or of a released one do not. The
// holder counts from before it asked, shortened by the drift bound.
func (h *Holder) Use(g Grant, asked Instant, leads pinetree.RaftTerm) bool {
	if g.Term != leads || g.Appointment != h.appointment || g.Appointment <= h.released {
		return false
	}
	expiry := asked.Add(time.Duration(float64(g.Duration) * (1 - h.maxDrift)))
	if g.Term != h.granted.Term || g.Appointment != h.granted.Appointment || expiry > h.expiry {
		h.granted, h.expiry = g, expiry
	}
	h.activated = max(h.activated, g.Term)
	return true
}

// Release gives up the lease of an appointment and of all before it, for good.
func (h *Holder) Release(id pinetree.AppointmentID) {
	h.released = max(h.released, id)
	if h.granted.Appointment <= h.released {
		h.granted, h.expiry = Grant{}, 0
	}
}

// Expiry is the instant from which the leader of the raft term no longer holds
// the lease; zero when it holds none.
func (h *Holder) Expiry(leads pinetree.RaftTerm) Instant {
	if h.granted.Term != leads || leads == 0 {
		return 0
	}
	return h.expiry
}

// Activated tells whether the leader of the raft term was ever granted
// anything, which is what lets it acknowledge appends and answer quorum reads.
func (h *Holder) Activated(leads pinetree.RaftTerm) bool {
	return leads != 0 && h.activated == leads
}
