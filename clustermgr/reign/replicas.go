package reign

import (
	"context"
	"fmt"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/members"
	"github.com/pinetree-db/pinetree/clustermgr/orders"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// ChangeReplicas records a change of a group's replicas and waits until it is
// through. What is recorded is carried out even when the caller does not wait.
func (r *Reign) ChangeReplicas(ctx context.Context, q *wirepb.ChangeReplicasRequest) (*wirepb.GroupInfo, error) {
	id := pinetree.GroupID(q.GetGroup())
	c := policy.Change{Add: pinetree.NodeID(q.GetAdd()), Remove: pinetree.NodeID(q.GetRemove())}
	var next ledger.Group
	err := r.persist(ctx, func() ([]ledger.Change, error) {
		g := r.groups[id]
		if g == nil {
			return nil, refuse(pinetree.ErrUnknownGroup, "there is no group %d", id)
		}
		next = g.Is
		if same(g.Is.Change, c) {
			return nil, nil
		}
		if err := members.Check(g.Is, c, r.known); err != nil {
			return nil, err
		}
		next = next.Changing(ledger.ReplicaChange{Add: c.Add, Remove: c.Remove})
		return []ledger.Change{g.Put(next.Key(), next)}, nil
	}, func(revision int64) {
		g := r.groups[id]
		g.Is, g.Revision = next, revision
		g.changeAt, g.changeNote = 0, ""
		r.event(ledger.Event{Kind: "change_recorded", Group: id, Node: max(c.Add, c.Remove), Cause: "an operator's order", Outcome: c.String()})
		r.lookAtReplicas(g, r.cfg.Clock())
	})
	if err != nil {
		return nil, err
	}
	return r.untilChanged(ctx, next)
}

// untilChanged waits until a recorded change is through.
func (r *Reign) untilChanged(ctx context.Context, record ledger.Group) (*wirepb.GroupInfo, error) {
	var info *wirepb.GroupInfo
	var note string
	number := record.Change.Number
	err := r.await(ctx, func() (bool, error) {
		g := r.groups[record.ID]
		if g == nil {
			return true, refuse(pinetree.ErrUnknownGroup, "group %d was deleted", record.ID)
		}
		info, note = r.groupInfo(g), g.changeNote
		switch now := g.Is.Change; {
		case now == nil && g.Is.Changes == number:
			return true, nil
		case now == nil || now.Number != number:
			return true, fmt.Errorf("group %d: the change was given up for another one", g.id)
		}
		return false, nil
	})
	if ctx.Err() != nil && err != nil {
		return nil, fmt.Errorf("group %d: the change is recorded and goes on: %s: %w", record.ID, note, err)
	}
	return info, err
}

func same(recorded *ledger.ReplicaChange, c policy.Change) bool {
	return recorded != nil && recorded.Add == c.Add && recorded.Remove == c.Remove
}

// known tells of a node whether it lives; false when there is no such node.
func (r *Reign) known(id pinetree.NodeID) (policy.Health, bool) {
	if n := r.nodes[id]; n != nil {
		return r.health(n), true
	}
	return policy.Dead, false
}

// showGroup describes one group, with the progress of its replicas as far as its
// leader answers.
func (r *Reign) showGroup(ctx context.Context, q *wirepb.ListGroupsRequest) (*wirepb.ListGroupsResponse, error) {
	var info *wirepb.GroupInfo
	var leader *node
	var target orders.Target
	id := pinetree.GroupID(q.GetGroup())
	if err := r.do(ctx, func() {
		if g := r.groups[id]; g != nil {
			info = r.groupInfo(g)
			if leader = r.leader(g); leader != nil {
				target = leader.target()
			}
		}
	}); err != nil {
		return nil, err
	}
	if info == nil {
		return nil, refuse(pinetree.ErrUnknownGroup, "there is no group %d", id)
	}
	if leader != nil {
		addProgress(info, r.dial.Collect(ctx, id, []orders.Target{target})[0])
	}
	return &wirepb.ListGroupsResponse{Groups: []*wirepb.GroupInfo{info}}, nil
}

// addProgress takes in what the leader says of the members.
func addProgress(info *wirepb.GroupInfo, leader *wirepb.ReplicaStatus) {
	for _, m := range leader.GetMembers() {
		at := slices.IndexFunc(info.Replicas, func(r *wirepb.ReplicaInfo) bool { return r.GetNode() == m.GetNode() })
		if at >= 0 {
			info.Replicas[at].Progress = m
		}
	}
}
