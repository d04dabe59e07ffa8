// Package manifest is what raft's message of a snapshot says: where the state is
// that travels beside it, as the encoded position, with the same index, raft term
// and members in raft's own metadata. It knows positions and raft's messages; it
// knows no state, no stream and no engine.
package manifest

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/membership"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Of is the snapshot of the state at a position.
func Of(at pinetree.Position) (*raftpb.Snapshot, error) {
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
	s, err := Of(at)
	if err != nil {
		return nil, err
	}
	if !membership.Of(s.GetMetadata().GetConfState()).Has(pinetree.NodeID(m.GetTo())) {
		return nil, fmt.Errorf("node %d is no member at index %d", m.GetTo(), at.Index)
	}
	return &raftpb.Message{Type: m.Type, From: m.From, To: m.To, Term: m.Term, Snapshot: s}, nil
}

// Position is the position of the state that a snapshot's message speaks
// of. A message that contradicts itself is a *pinetree.CorruptError.
func Position(m *raftpb.Message) (pinetree.Position, error) {
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
