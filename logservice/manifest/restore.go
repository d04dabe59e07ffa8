package manifest

import (
	"errors"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
)

// FinishRestore tells what the raft log of a group still needs after a crash
// between the engine's taking over of a snapshot and the new start of the log:
// nil when nothing. It is to be saved before NewReplica. The vote is kept, and
// the raft term is at least that of the state.
func FinishRestore(group pinetree.GroupID, log raftlog.View, at pinetree.Position) (*raftlog.Update, error) {
	if at.Restored == 0 || at.Restored != at.Index {
		return nil, nil
	}
	begun, err := begins(log, at)
	if err != nil || begun {
		return nil, err
	}
	stored, err := log.HardState()
	if err != nil {
		return nil, err
	}
	hard := &raftpb.HardState{Term: proto.Uint64(stored.GetTerm()), Vote: proto.Uint64(stored.GetVote()), Commit: proto.Uint64(uint64(at.Index))}
	if hard.GetTerm() < uint64(at.Term) {
		// It has voted for nobody in a raft term that it has never been in.
		hard.Term, hard.Vote = proto.Uint64(uint64(at.Term)), proto.Uint64(0)
	}
	return &raftlog.Update{
		Group: group, HardState: hard, Restart: &raftlog.Point{Index: at.Index, Term: at.Term}, MustSync: true,
	}, nil
}

// begins tells whether the log holds the entry that a position ends with, or
// begins above it. Another entry there was never committed, and the snapshot has
// replaced it.
func begins(log raftlog.View, at pinetree.Position) (bool, error) {
	last, err := log.LastIndex()
	if err != nil || last < uint64(at.Index) {
		return false, err
	}
	term, err := log.Term(uint64(at.Index))
	if errors.Is(err, raftlog.ErrCompacted) {
		return true, nil // the two do not fit together, which a start of the replica refuses
	}
	return term == uint64(at.Term), err
}
