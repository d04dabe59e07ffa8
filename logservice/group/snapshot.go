package group

import (
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/membership"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// A snapshot's message holds only where the state is: the encoded position, with
// the same index, term and membership in raft's metadata. The state itself goes
// beside it, as a stream that this package knows nothing of.

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
	s, err := snapshotOf(r.position)
	if err != nil {
		r.log.Error("no snapshot can be made", "err", err)
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return s, nil
}

func snapshotOf(at pinetree.Position) (*raftpb.Snapshot, error) {
	at.Restored = 0 // says where this replica's own state came from
	data, err := storepb.EncodePosition(at)
	if err != nil {
		return nil, err
	}
	conf, err := membership.Decode(at.Membership)
	if err != nil {
		return nil, err
	}
	index, term := uint64(at.Index), uint64(at.Term)
	return &raftpb.Snapshot{Data: data, Metadata: &raftpb.SnapshotMetadata{ConfState: conf, Index: &index, Term: &term}}, nil
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

// Rebase makes the message of a snapshot speak of the position of the state that
// is really sent, which may be newer than the one at which raft ordered it. It
// refuses a state that the receiver could not use.
func Rebase(m *raftpb.Message, at pinetree.Position) (*raftpb.Message, error) {
	ordered := m.GetSnapshot().GetMetadata()
	switch {
	case uint64(at.Index) < ordered.GetIndex():
		return nil, fmt.Errorf("the engine's state is at index %d, the snapshot was ordered at %d", at.Index, ordered.GetIndex())
	case uint64(at.Term) > m.GetTerm():
		return nil, fmt.Errorf("another replica leads: the engine's state is of raft term %d, the snapshot was ordered in %d", at.Term, m.GetTerm())
	}
	s, err := snapshotOf(at)
	if err != nil {
		return nil, err
	}
	if !membership.Of(s.GetMetadata().GetConfState()).Has(pinetree.NodeID(m.GetTo())) {
		return nil, fmt.Errorf("node %d is no member at index %d", m.GetTo(), at.Index)
	}
	return &raftpb.Message{Type: m.Type, From: m.From, To: m.To, Term: m.Term, Snapshot: s}, nil
}

// SnapshotPosition is the position of the state that a snapshot's message speaks
// of. A message that contradicts itself is a *pinetree.CorruptError.
func SnapshotPosition(m *raftpb.Message) (pinetree.Position, error) {
	corrupt := func(what string) (pinetree.Position, error) {
		return pinetree.Position{}, &pinetree.CorruptError{Where: fmt.Sprintf("snapshot from node %d", m.GetFrom()), What: what}
	}
	if m.GetType() != raftpb.MsgSnap || m.GetSnapshot() == nil {
		return corrupt("the message is no snapshot")
	}
	at, err := storepb.DecodePosition(m.GetSnapshot().GetData())
	if err != nil {
		return corrupt(err.Error())
	}
	conf, err := membership.Decode(at.Membership)
	if err != nil {
		return corrupt(err.Error())
	}
	meta := m.GetSnapshot().GetMetadata()
	switch {
	case at.Index == 0 || uint64(at.Index) != meta.GetIndex() || uint64(at.Term) != meta.GetTerm():
		return corrupt(fmt.Sprintf("its state is at index %d of raft term %d, its metadata at %d of %d", at.Index, at.Term, meta.GetIndex(), meta.GetTerm()))
	case !membership.Of(conf).Equal(membership.Of(meta.GetConfState())):
		return corrupt("its state and its metadata differ in the membership")
	case uint64(at.Term) > m.GetTerm():
		return corrupt(fmt.Sprintf("its state is of raft term %d, its sender leads in %d", at.Term, m.GetTerm()))
	}
	return at, nil
}
