package policy

import (
	"math"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// maxMarks bounds what Progress remembers. Older marks lie further apart, so that
// a lag of seconds is known to a heartbeat, and one of an hour to some minutes.
const maxMarks = 24

// Progress is how far a group was seen to be committed, and since when, which
// turns the index that a replica has replayed into the time that it is behind.
// The zero Progress has seen nothing.
//
// Invariant: marks rise in both fields.
type Progress struct{ marks []mark }

// mark: at this instant the group was committed up to the index.
type mark struct {
	at    lease.Instant
	index uint64
}

// See takes in a commit index that any member reported.
func (p *Progress) See(index uint64, now lease.Instant) {
	if n := len(p.marks); n > 0 && (index <= p.marks[n-1].index || now <= p.marks[n-1].at) {
		return
	}
	if len(p.marks) == maxMarks {
		p.thin(now)
	}
	p.marks = append(p.marks, mark{now, index})
}

// thin forgets the mark, between the first and the last, without which the rest
// say least wrong: the gap would be small beside its age.
func (p *Progress) thin(now lease.Instant) {
	least, gap := 0, math.Inf(1)
	for i := 1; i < len(p.marks)-1; i++ {
		if g := float64(p.marks[i+1].at.Sub(p.marks[i-1].at)) / float64(now.Sub(p.marks[i].at)); g < gap {
			least, gap = i, g
		}
	}
	p.marks = slices.Delete(p.marks, least, least+1)
}

// Behind is for how long, as of an instant, a replica that had replayed up to an
// index then had lacked something that was committed.
func (p *Progress) Behind(applied uint64, then lease.Instant) time.Duration {
	at := slices.IndexFunc(p.marks, func(m mark) bool { return m.index > applied })
	if at < 0 {
		return 0
	}
	return max(0, then.Sub(p.marks[at].at))
}

// RouteTo is what a reader is told of a member's replica of a volume. A member
// that said nothing of it since this manager took office counts as not serving.
func RouteTo(m Member, volume pinetree.VolumeID, p *Progress, now lease.Instant) *wirepb.ReplicaRoute {
	s := m.Status
	answer := &wirepb.ReplicaRoute{Node: uint64(m.Node), AgeMs: inMilliseconds(m.Age)}
	if s == nil {
		return answer
	}
	answer.Serves = m.Health == Alive && s.GetStopped() == "" && !s.GetBlank() && !s.GetRemoved()
	answer.BehindMs = inMilliseconds(p.Behind(s.GetApplied(), now.Add(-m.Age)))
	for _, v := range s.GetVolumes() {
		if v.GetVolume() == uint64(volume) {
			answer.AppliedLsn = v.GetAppliedLsn()
		}
	}
	return answer
}

// inMilliseconds rounds up, so that no age is reported younger than it is.
func inMilliseconds(d time.Duration) uint32 {
	return uint32(min(max((d+time.Millisecond-1)/time.Millisecond, 0), math.MaxUint32))
}
