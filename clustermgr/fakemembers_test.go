package clustermgr

import (
	"context"
	"fmt"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// held keeps the answer of an order that was carried out from the manager, when
// the test wants that. It is called under the lock and gives it up meanwhile.
func (n *fakeNode) held(ctx context.Context, order string) error {
	if n.hold != order {
		return nil
	}
	n.raft.mu.Unlock()
	defer n.raft.mu.Lock()
	<-ctx.Done()
	return ctx.Err()
}

// ChangeMembership makes a change at once, as a group does whose replicas all
// answer, and tells everybody of it.
func (n *fakeNode) ChangeMembership(ctx context.Context, q *wirepb.ChangeMembershipRequest) (*wirepb.ChangeMembershipResponse, error) {
	unlock, err := n.enter(ctx, "change members")
	if err != nil {
		return nil, err
	}
	defer unlock()
	leader := n.replicas[q.GetGroup()]
	switch {
	case leader == nil || !leader.holder.Activated(leader.leads):
		return nil, pinetree.ErrNotLeader
	case q.GetMembersAt() != 1+leader.changes:
		return nil, fmt.Errorf("%w: the members have changed", pinetree.ErrBadBatch)
	}
	for _, id := range q.GetPromote() {
		if peer := n.raft.nodes[pinetree.NodeID(id)]; peer.slow || peer.replicas[q.GetGroup()] == nil || !slices.Contains(leader.learns, id) {
			n.t.Errorf("group %d: node %d was promoted and is not ready for it", q.GetGroup(), id)
		}
	}
	voters := without(append(slices.Clone(leader.voters), q.GetPromote()...), q.GetRemove())
	learns := without(without(append(slices.Clone(leader.learns), q.GetAdd()...), q.GetPromote()), q.GetRemove())
	if len(voters) == 0 {
		return nil, fmt.Errorf("%w: no voter would be left", pinetree.ErrBadBatch)
	}
	changes := leader.changes + 1
	for id, peer := range n.raft.nodes {
		r := peer.replicas[q.GetGroup()]
		if r == nil {
			continue
		}
		member := slices.Contains(voters, uint64(id)) || slices.Contains(learns, uint64(id))
		if member && !(peer.slow && len(r.voters) == 0) {
			r.voters, r.learns, r.changes, r.index = voters, learns, changes, leader.index
		}
		if slices.Contains(q.GetRemove(), uint64(id)) {
			r.gone, r.leads = true, 0
			r.voters, r.learns = voters, learns
		}
		peer.ping()
	}
	return &wirepb.ChangeMembershipResponse{}, n.held(ctx, "change members")
}

func without(list, gone []uint64) []uint64 {
	kept := slices.DeleteFunc(slices.Clone(list), func(id uint64) bool { return slices.Contains(gone, id) })
	slices.Sort(kept)
	return kept
}

// progress is called under the lock.
func (n *fakeNode) progress(leader *fakeReplica) []*wirepb.MemberProgress {
	var list []*wirepb.MemberProgress
	for _, id := range slices.Concat(leader.voters, leader.learns) {
		m := &wirepb.MemberProgress{Node: id, Learner: slices.Contains(leader.learns, id), State: "replicate", Active: true, Match: leader.index}
		if peer := n.raft.nodes[pinetree.NodeID(id)]; peer.slow {
			m.State, m.Match, m.Snapshot = "snapshot", 0, 9
		}
		list = append(list, m)
	}
	return list
}

// RemoveReplica forgets a replica that is no member.
func (n *fakeNode) RemoveReplica(ctx context.Context, q *wirepb.RemoveReplicaRequest) (*wirepb.RemoveReplicaResponse, error) {
	unlock, err := n.enter(ctx, "remove replica")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if r := n.replicas[q.GetGroup()]; r != nil && !r.gone && len(r.voters) > 0 && !q.GetDeleted() {
		n.t.Errorf("node %d was to remove the files of a member", n.id)
	}
	if q.GetDeleted() {
		n.deleted[q.GetGroup()] = true
	}
	delete(n.replicas, q.GetGroup())
	n.ping()
	return &wirepb.RemoveReplicaResponse{}, n.held(ctx, "remove replica")
}
