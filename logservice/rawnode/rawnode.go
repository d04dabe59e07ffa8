// Package rawnode is raft as Pinetree runs it: a RawNode whose self-election is off,
// over the raft log's entries and the engine's membership. It refuses a log and
// an engine that do not fit together, which raft would answer by a panic. It has
// no goroutine and no I/O of its own.
package rawnode

import (
	"fmt"
	"log/slog"
	"math"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/membership"
	"github.com/pinetree-db/pinetree/raftlog"
)

// Config is what a RawNode is made of.
type Config struct {
	Group    pinetree.GroupID
	Node     pinetree.NodeID
	Log      raftlog.View
	Applied  pinetree.Position // what the engine surely has
	Snapshot func() (*raftpb.Snapshot, error)
	Logger   *slog.Logger
	// ElectionTicks is after how many ticks raft aborts a stuck transfer.
	ElectionTicks int
	// MaxMessageBytes bounds the entries of one message.
	MaxMessageBytes int
}

const (
	// maxCommitBytes is about how much is handed out to be replayed before raft
	// hears that it was.
	maxCommitBytes = 40 << 20
	// maxInflight and maxInflightBytes bound what a follower is sent before it
	// answers.
	maxInflight, maxInflightBytes = 256, 32 << 20
)

// New makes the RawNode of a replica and tells who its members are. It refuses,
// with a *pinetree.CorruptError, a log and an engine that do not fit together.
//
// Followers must not be ticked: then nobody campaigns unless told to. PreVote
// keeps one that is told so wrongly from deposing a leader, and lets a deposed
// leader that only talks hear of it; CheckQuorum would make votes for a leader
// that was appointed impossible.
func New(cfg Config) (*raft.RawNode, *raftpb.ConfState, error) {
	storage, err := newStorage(cfg)
	if err != nil {
		return nil, nil, err
	}
	rn, err := raft.NewRawNode(&raft.Config{
		ID:                        uint64(cfg.Node),
		ElectionTick:              cfg.ElectionTicks,
		HeartbeatTick:             1,
		Storage:                   storage,
		Applied:                   uint64(cfg.Applied.Index),
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             uint64(cfg.MaxMessageBytes),
		MaxCommittedSizePerReady:  maxCommitBytes,
		MaxUncommittedEntriesSize: math.MaxInt64, // the replica bounds it, by bytes that are its own to count
		MaxInflightMsgs:           maxInflight,
		MaxInflightBytes:          uint64(max(maxInflightBytes, cfg.MaxMessageBytes)),
		PreVote:                   true,
		ReadOnlyOption:            raft.ReadOnlySafe,
		Logger:                    raftLogger{cfg.Logger},
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("group %d: %w", cfg.Group, err)
	}
	return rn, storage.conf, nil
}

// Bootstrap is the position at which every replica of a new group begins, and
// the point after which its raft log begins. They are the same on all members.
func Bootstrap(voters []pinetree.NodeID) (pinetree.Position, raftlog.Point, error) {
	conf := &raftpb.ConfState{}
	for _, id := range voters {
		conf.Voters = append(conf.Voters, uint64(id))
	}
	members, err := membership.Encode(conf)
	if err != nil {
		return pinetree.Position{}, raftlog.Point{}, err
	}
	point := raftlog.Point{Index: 1, Term: 1}
	return pinetree.Position{
		Index: point.Index, Term: point.Term, Membership: members,
		Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{},
	}, point, nil
}

// storage is a group's log as raft wants to see it: the raft log's entries, the
// engine's membership. It is read by raft within calls of the RawNode.
type storage struct {
	raftlog.View
	hard     *raftpb.HardState
	conf     *raftpb.ConfState
	snapshot func() (*raftpb.Snapshot, error)
}

// newStorage checks that log and engine fit together, which raft answers by a
// panic: the commit index is not synced on its own, so the engine may know of
// more, but never of more than the log holds.
func newStorage(cfg Config) (*storage, error) {
	where := fmt.Sprintf("group %d on node %d", cfg.Group, cfg.Node)
	hard, err := cfg.Log.HardState()
	if err != nil {
		return nil, err
	}
	if hard == nil {
		hard = &raftpb.HardState{}
	}
	hard = proto.CloneOf(hard)
	first, err := cfg.Log.FirstIndex()
	if err != nil {
		return nil, err
	}
	last, err := cfg.Log.LastIndex()
	if err != nil {
		return nil, err
	}
	applied := uint64(cfg.Applied.Index)
	switch {
	case applied > last:
		return nil, &pinetree.CorruptError{Where: where, What: fmt.Sprintf("the engine has replayed up to index %d, the raft log ends at %d", applied, last)}
	case applied+1 < first:
		return nil, &pinetree.CorruptError{Where: where, What: fmt.Sprintf("the engine has replayed up to index %d, the raft log begins at %d", applied, first)}
	case hard.GetCommit() > last:
		return nil, &pinetree.CorruptError{Where: where, What: fmt.Sprintf("commit index %d, the raft log ends at %d", hard.GetCommit(), last)}
	}
	if hard.GetCommit() < applied {
		hard.Commit = proto.Uint64(applied)
	}
	conf, err := membership.Decode(cfg.Applied.Membership)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return &storage{View: cfg.Log, hard: hard, conf: conf, snapshot: cfg.Snapshot}, nil
}

// InitialState implements raft.Storage.
func (s *storage) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	return s.hard, s.conf, nil
}

// Snapshot implements raft.Storage.
func (s *storage) Snapshot() (*raftpb.Snapshot, error) { return s.snapshot() }
