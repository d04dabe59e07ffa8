package group

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/rawnode"
)

// A blank replica has no state yet: it waits for a snapshot. It cannot tell
// whether it is new, and so is not counted anywhere, or whether it was a voter
// whose disk was lost, and whose votes and acknowledgements are forgotten. So it
// votes for nobody, confirms no quorum read, and takes only a snapshot in which
// it is a learner, which has never voted: a replica begins as one, and a lost
// voter is none.

// blank tells whether the replica waits for its first state.
func (r *Replica) blank() bool { return r.position.Index == 0 }

// admit is what a blank replica makes of a message: nil to drop it.
func (r *Replica) admit(m *raftpb.Message) *raftpb.Message {
	switch m.GetType() {
	case raftpb.MsgHeartbeat:
		if m.GetCommit() > 0 {
			// The error is for the status. Whoever has lost its log answers nothing.
			_ = r.lose(fmt.Sprintf("node %d, the leader, knows it to have the log up to index %d", m.GetFrom(), m.GetCommit()))
			return nil
		}
		m = proto.CloneOf(m)
		m.Context = []byte(rawnode.BlankContext)
		return m
	case raftpb.MsgApp:
		if m.GetIndex() == 0 {
			return nil // an empty log would take entries from anywhere
		}
		return m
	case raftpb.MsgReadIndexResp:
		return m
	}
	return nil
}

// lose notes a sign that this replica was a member once and that its state is
// gone. It stays silent, and is not stopped: the sign may be a late message to a
// replica that this node had before and that was removed.
func (r *Replica) lose(proof string) error {
	why := fmt.Errorf("%w: group %d has no state on node %d, but %s: its disk was lost; remove node %d from the group, then add another node, or this one anew",
		pinetree.ErrBadBatch, r.cfg.Group, r.cfg.Node, proof, r.cfg.Node)
	if r.lost == nil {
		r.log.Error("a replica without state is taken for one that had it", "err", why)
	}
	r.lost = why
	return why
}

// errRemoved is what the users of a replica hear that is no member any more.
var errRemoved = fmt.Errorf("%w: the replica was removed from its group", pinetree.ErrStopped)

// Removed tells whether a replica serves nobody because it is no member any more.
func Removed(why error) bool { return errors.Is(why, errRemoved) }

// retireIfRemoved ends the service of a replica that has replayed its own removal.
// It goes on to vote: those that are left may not know yet that the removal is
// committed, and without its vote they might have no majority. Its node's order
// to remove it, which comes when they know, is its end.
func (r *Replica) retireIfRemoved() {
	if r.retired != nil || r.stopped != nil || r.blank() || r.position.Index < r.conf.at || r.conf.members.Has(r.cfg.Node) {
		return
	}
	r.log.Info("replica was removed from its group", "index", r.conf.at)
	r.retired = errRemoved
	r.reads.fail(r.retired)
	r.appoint.end(r.retired)
	r.publish()
}

// ended is why a replica serves nobody any more; nil while it does.
func (r *Replica) ended() error {
	if r.stopped != nil {
		return r.stopped
	}
	return r.retired
}
