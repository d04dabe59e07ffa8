// Package lease is the rule by which at most one leader of a group answers
// reads by itself: the half of the holder, in a storage node, and the half of
// the granter, in the cluster manager. It is pure, except for BootTime, which
// reads the clock: it has no goroutine and no I/O, and takes the time as an
// argument. It does not know how leaders are elected nor what they prove.
package lease

import (
	"time"

	"github.com/pinetree-db/pinetree"
)

// Instant is a reading of CLOCK_BOOTTIME in nanoseconds. It means something
// only on the machine, and since the boot, that it was read on.
type Instant int64

// Add moves an instant by d.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub is the time from other to i.
func (i Instant) Sub(other Instant) time.Duration { return time.Duration(i - other) }

// Grant lets the node that leads a group answer reads by itself, for a time,
// under one appointment and in one raft term.
type Grant struct {
	Group       pinetree.GroupID
	Appointment pinetree.AppointmentID
	Term        pinetree.RaftTerm
	Duration    time.Duration
}
