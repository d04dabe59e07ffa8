package logservice

import (
	"context"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

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
		RaftTerm: uint64(s.RaftTerm), Appointment: uint64(s.Appointment), QuorumAgeMs: milliseconds(s.QuorumAge), Quiet: s.Quiet,
		LastTerm: uint64(s.LastTerm), LastIndex: uint64(s.LastIndex),
		Committed: uint64(s.Committed), Applied: uint64(s.Applied.Index),
		LeaderHint: uint64(s.LeaderHint), Released: uint64(s.Released),
		MembersAt: uint64(s.MembersAt), Joint: s.Joint, Removed: s.Removed, Blank: s.Blank,
	}
	w.ApplyStalledMs = milliseconds(s.ApplyStalled)
	w.CommitUs, w.ApplyUs = microseconds(s.CommitTime), microseconds(s.ApplyTime)
	if s.Stopped != nil {
		w.Stopped = strings.TrimPrefix(s.Stopped.Error(), pinetree.ErrStopped.Error()+": ") // who shows it says that it is
	}
	if s.Lost != nil {
		w.Lost = s.Lost.Error()
	}
	w.Voters, w.Learners = numbers(s.Voters), numbers(s.Learners)
	w.Incoming, w.Outgoing = numbers(s.Incoming), numbers(s.Outgoing)
	for _, id := range slices.Sorted(maps.Keys(s.Applied.Volumes)) {
		at := s.Applied.Volumes[id]
		w.Volumes = append(w.Volumes, &wirepb.VolumeStatus{
			Volume: uint64(id), AppliedLsn: uint64(at.LSN), ComputeTerm: uint64(at.Term()),
			CommittedLsn: uint64(max(at.LSN, s.Acked[id])),
		})
	}
	return w
}

func numbers(ids []pinetree.NodeID) []uint64 {
	var list []uint64
	for _, id := range ids {
		list = append(list, uint64(id))
	}
	return list
}

// milliseconds rounds up, so that an age is never reported younger than it is.
func milliseconds(d time.Duration) uint32 {
	ms := (d + time.Millisecond - 1) / time.Millisecond
	return uint32(min(max(ms, 0), math.MaxUint32))
}

// microseconds rounds up, so that what took any time is not reported as none.
func microseconds(d time.Duration) uint32 {
	us := (d + time.Microsecond - 1) / time.Microsecond
	return uint32(min(max(us, 0), math.MaxUint32))
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
	view   *group.View // as long as the replica shows this one, nothing has happened to it
}

// news are the replicas to tell of, and the groups that have none any more.
type news struct {
	replicas []*wirepb.ReplicaStatus
	gone     []uint64
}

// collect asks the replicas: all of them, or those to which anything happened
// since they were last asked, and those of which the manager must know that
// nothing did, because they lead.
func (r *reporter) collect(ctx context.Context, patience time.Duration, all bool) news {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	groups := r.host.Groups()
	found := news{gone: r.gone(groups)}
	if !all {
		groups = slices.DeleteFunc(groups, r.rests)
	}
	found.replicas = make([]*wirepb.ReplicaStatus, len(groups))
	var asks errgroup.Group
	asks.SetLimit(statusAsks)
	for i, g := range groups {
		asks.Go(func() error {
			asked, view := lease.BootTime(), g.View()
			status, err := g.Status(ctx)
			if err != nil {
				found.replicas[i] = r.aged(g.ID(), asked)
				return nil
			}
			found.replicas[i] = replicaStatus(status)
			r.keep(report{found.replicas[i], asked, view})
			return nil
		})
	}
	_ = asks.Wait() // no ask returns an error
	found.replicas = slices.DeleteFunc(found.replicas, func(s *wirepb.ReplicaStatus) bool { return s == nil })
	return found
}

// rests tells that a replica is as it was last reported, and leads at most
// quietly.
func (r *reporter) rests(g *host.Group) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	view := g.View()
	return r.last[g.ID()].view == view && view.Idle
}

// gone forgets the replicas that were reported and are not there any more, and
// returns their groups.
func (r *reporter) gone(there []*host.Group) []uint64 {
	present := make(map[pinetree.GroupID]bool, len(there))
	for _, g := range there {
		present[g.ID()] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var gone []uint64
	for id := range r.last {
		if !present[id] {
			delete(r.last, id)
			gone = append(gone, uint64(id))
		}
	}
	return gone
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
	since := milliseconds(now.Sub(old.at))
	s := proto.CloneOf(old.status)
	s.QuorumAgeMs += since
	s.ApplyStalledMs += since * min(s.ApplyStalledMs, 1)
	return s
}
