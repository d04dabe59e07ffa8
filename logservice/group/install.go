package group

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/manifest"
	"github.com/pinetree-db/pinetree/logservice/membership"
	"github.com/pinetree-db/pinetree/raftlog"
)

// incoming is a snapshot whose state has arrived here.
type incoming struct {
	at         pinetree.Position
	installing bool // raft wants it
	done       func(error)
}

// WelcomeSnapshot tells, before the state is transferred, why a snapshot would
// not be taken; nil when it would be. The leader of one whose state is here
// already is told so.
func (r *Replica) WelcomeSnapshot(m *raftpb.Message) error {
	_, err := r.welcome(m)
	return err
}

func (r *Replica) welcome(m *raftpb.Message) (pinetree.Position, error) {
	if r.stopped != nil {
		return pinetree.Position{}, r.stopped
	}
	at, err := manifest.Position(m)
	if err != nil {
		return at, err
	}
	now := r.rn.BasicStatus()
	members := membership.Of(m.GetSnapshot().GetMetadata().GetConfState())
	switch {
	case m.GetTo() != uint64(r.cfg.Node):
		return at, fmt.Errorf("%w: snapshot for node %d came to node %d", pinetree.ErrBadBatch, m.GetTo(), r.cfg.Node)
	case r.incoming != nil:
		return at, fmt.Errorf("%w: group %d takes in another snapshot; wait and send again", pinetree.ErrQueueFull, r.cfg.Group)
	case m.GetTerm() < now.HardState.GetTerm():
		return at, fmt.Errorf("%w: node %d led group %d in raft term %d, it is %d now", pinetree.ErrNotLeader, m.GetFrom(), r.cfg.Group, m.GetTerm(), now.HardState.GetTerm())
	case !members.Has(r.cfg.Node):
		return at, fmt.Errorf("%w: node %d is no member of group %d at index %d", pinetree.ErrBadBatch, r.cfg.Node, r.cfg.Group, at.Index)
	case r.blank() && members.Votes(r.cfg.Node):
		return at, r.lose(fmt.Sprintf("it is a voter at index %d", at.Index))
	case uint64(at.Index) <= now.HardState.GetCommit():
		r.hear(m) // raft ignores it, and answers how far this replica is
		return at, fmt.Errorf("%w: group %d on node %d is at index %d, beyond the snapshot at %d", pinetree.ErrExists, r.cfg.Group, r.cfg.Node, now.HardState.GetCommit(), at.Index)
	}
	return at, nil
}

// TakeSnapshot gives raft a snapshot whose state has arrived whole. If raft wants
// it, a Save with Install follows in the effects of the next turn, and done
// hears when it is durable; otherwise done hears why not. done is called once.
func (r *Replica) TakeSnapshot(m *raftpb.Message, done func(error)) {
	at, err := r.welcome(m)
	if err != nil {
		done(err)
		return
	}
	r.incoming = &incoming{at: at, done: done}
	r.hear(m)
}

// ignored ends a snapshot that raft did not want after all, for example because
// its log has all of it.
func (r *Replica) ignored() {
	if in := r.incoming; in != nil && !in.installing {
		r.incoming = nil
		in.done(fmt.Errorf("%w: raft did not want the snapshot at index %d", pinetree.ErrExists, in.at.Index))
	}
}

// install completes the write that lets the log begin after a snapshot.
func (r *Replica) install(s *Save, snapshot *raftpb.Snapshot) {
	meta := snapshot.GetMetadata()
	if r.incoming == nil || uint64(r.incoming.at.Index) != meta.GetIndex() {
		panic(fmt.Sprintf("raft installs a snapshot at index %d that was not taken in", meta.GetIndex()))
	}
	r.incoming.installing = true
	at := r.incoming.at
	s.Install = &at
	s.Update.Restart = &raftlog.Point{Index: at.Index, Term: at.Term}
	s.Update.MustSync = true
	r.setMembers(meta.GetConfState(), at.Index)
}

// installed is called when log and engine hold the snapshot.
func (r *Replica) installed(at pinetree.Position) {
	r.log.Info("installed a snapshot", "index", at.Index, "raft_term", at.Term)
	r.position, r.lost = at, nil
	r.lag.Reach(at.Index)
	if in := r.incoming; in != nil {
		r.incoming = nil
		in.done(nil)
	}
}
