package logservice

import (
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// statusAsks bounds the replicas that are asked for their status at once.
const statusAsks = 16

// replicaStatus is a replica's state on the wire.
func replicaStatus(s group.Status) *wirepb.ReplicaStatus {
	w := &wirepb.ReplicaStatus{
		Group: uint64(s.Group), Leader: s.Leader, Ready: s.Ready, Activated: s.Activated,
		RaftTerm: uint64(s.RaftTerm), Appointment: uint64(s.Appointment), QuorumAgeMs: milliseconds(s.QuorumAge),
		LastTerm: uint64(s.LastTerm), LastIndex: uint64(s.LastIndex),
		Committed: uint64(s.Committed), Applied: uint64(s.Applied.Index),
		LeaderHint: uint64(s.LeaderHint), Released: uint64(s.Released),
		MembersAt: uint64(s.MembersAt), Joint: s.Joint, Removed: s.Removed, Blank: s.Blank,
	}
	if s.Stopped != nil {
		w.Stopped = s.Stopped.Error()
	}
	for _, id := range s.Voters {
		w.Voters = append(w.Voters, uint64(id))
	}
	for _, id := range s.Learners {
		w.Learners = append(w.Learners, uint64(id))
	}
	for _, id := range slices.Sorted(maps.Keys(s.Applied.Volumes)) {
		at := s.Applied.Volumes[id]
		w.Volumes = append(w.Volumes, &wirepb.VolumeStatus{
			Volume: uint64(id), AppliedLsn: uint64(at.LSN), ComputeTerm: uint64(at.Term()),
			CommittedLsn: uint64(max(at.LSN, s.Acked[id])),
		})
	}
	return w
}

// milliseconds rounds up, so that an age is never reported younger than it is.
func milliseconds(d time.Duration) uint32 {
	ms := (d + time.Millisecond - 1) / time.Millisecond
	return uint32(min(max(ms, 0), math.MaxUint32))
}

// reporter collects the statuses for heartbeats. It waits for no replica
// longer than it is given patience: one whose worker does not answer is reported as it
// last was, grown older by the time since, so that it stops to count as proof.
type reporter struct {
	host *host.Host

	mu   sync.Mutex
	last map[pinetree.GroupID]report
}

type report struct {
	status *wirepb.ReplicaStatus
	at     lease.Instant
}

// collect asks all replicas.
func (r *reporter) collect(ctx context.Context, patience time.Duration) []*wirepb.ReplicaStatus {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	groups := r.host.Groups()
	all := make([]*wirepb.ReplicaStatus, len(groups))
	var asks errgroup.Group
	asks.SetLimit(statusAsks)
	for i, g := range groups {
		asks.Go(func() error {
			asked := lease.BootTime()
			status, err := g.Status(ctx)
			if err != nil {
				all[i] = r.aged(g.ID(), asked)
				return nil
			}
			all[i] = replicaStatus(status)
			r.keep(report{all[i], asked})
			return nil
		})
	}
	_ = asks.Wait() // no ask returns an error
	return slices.DeleteFunc(all, func(s *wirepb.ReplicaStatus) bool { return s == nil })
}

func (r *reporter) keep(fresh report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last[pinetree.GroupID(fresh.status.Group)] = fresh
}

// aged is the last report of a replica as it may still be said now; nil when
// there was none.
func (r *reporter) aged(id pinetree.GroupID, now lease.Instant) *wirepb.ReplicaStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, known := r.last[id]
	if !known {
		return nil
	}
	s := old.status
	return &wirepb.ReplicaStatus{
		Group: s.Group, Leader: s.Leader, Ready: s.Ready, Activated: s.Activated, RaftTerm: s.RaftTerm,
		Appointment: s.Appointment, LastTerm: s.LastTerm, LastIndex: s.LastIndex,
		QuorumAgeMs: s.QuorumAgeMs + milliseconds(now.Sub(old.at)),
		Committed:   s.Committed, Applied: s.Applied, LeaderHint: s.LeaderHint, Released: s.Released,
		Stopped: s.Stopped, Voters: s.Voters, Volumes: s.Volumes,
		Learners: s.Learners, MembersAt: s.MembersAt, Joint: s.Joint, Removed: s.Removed, Blank: s.Blank,
	}
}
