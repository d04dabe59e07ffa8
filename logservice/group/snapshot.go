package group

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/manifest"
)

// A snapshot's message holds only where the state is, its manifest. The state
// itself goes beside it, as a stream that this package knows nothing of.

// SnapshotOrder is raft's wish that a member gets the state of the group. Its
// end must be told to ReportSnapshot.
type SnapshotOrder struct {
	ID      uint64
	To      pinetree.NodeID
	Message *raftpb.Message
}

// sending is what a leader knows of snapshots that it ordered.
type sending struct {
	last uint64 // the ID given last, in any raft term
	to   map[pinetree.NodeID]*outbound
}

// outbound is a snapshot on its way to a member.
type outbound struct {
	id    uint64
	index pinetree.RaftIndex
	// until then the log above index is kept for the member.
	until    lease.Instant
	reported bool
}

// makeSnapshot implements raft.Storage.Snapshot. It is the state that is
// replayed here; raft asks again later while that is older than the newest
// change of members, because the one who is to get it may not be in it yet.
func (r *Replica) makeSnapshot() (*raftpb.Snapshot, error) {
	if r.blank() || r.position.Index < r.conf.at {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	s, err := manifest.Of(r.position)
	if err != nil {
		r.log.Error("no snapshot can be made", "err", err)
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return s, nil
}

// order notes that a snapshot is to be sent.
func (r *Replica) order(m *raftpb.Message) SnapshotOrder {
	r.sending.last++
	to := pinetree.NodeID(m.GetTo())
	if r.sending.to == nil {
		r.sending.to = map[pinetree.NodeID]*outbound{}
	}
	r.sending.to[to] = &outbound{
		id: r.sending.last, index: pinetree.RaftIndex(m.GetSnapshot().GetMetadata().GetIndex()), until: r.now.Add(r.opt.SnapshotHold),
	}
	return SnapshotOrder{ID: r.sending.last, To: to, Message: m}
}

// ReportSnapshot tells how the sending of a snapshot ended; raft sends nothing
// more to the member until it hears it. It reports whether anybody waited for
// it: a second report, or one of a leadership that is over, changes nothing.
func (r *Replica) ReportSnapshot(o SnapshotOrder, arrived bool) bool {
	sent := r.sending.to[o.To]
	if r.stopped != nil || sent == nil || sent.id != o.ID || sent.reported {
		return false
	}
	sent.reported = true
	status := raft.SnapshotFinish
	if !arrived {
		status = raft.SnapshotFailure
		delete(r.sending.to, o.To)
	} else {
		// The member's own word that it has the state may come a little later.
		sent.until = r.now.Add(r.opt.InactiveAfter)
	}
	r.rn.ReportSnapshot(uint64(o.To), status)
	return true
}
