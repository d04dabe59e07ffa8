package reign

import (
	"context"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/members"
	"github.com/pinetree-db/pinetree/clustermgr/orders"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/clustermgr/upkeep"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// ChangeReplicas records a change of a group's replicas and waits until it is
// through. What is recorded is carried out even when the caller does not wait.
func (r *Reign) ChangeReplicas(ctx context.Context, q *wirepb.ChangeReplicasRequest) (*wirepb.GroupInfo, error) {
	next, err := r.recordChange(ctx, pinetree.GroupID(q.GetGroup()), ledger.ReplicaChange{
		Add: pinetree.NodeID(q.GetAdd()), Remove: pinetree.NodeID(q.GetRemove()),
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
		members.CountVolumes(r.volumes, info)
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
			members.CountVolumes(r.volumes, info)
			info.Words = r.explain(g)
			if waits := upkeep.Replicas(r.snapshot(r.cfg.Clock()), r.cfg.Replicas).Words[id]; waits != "" {
				info.Words = append(info.Words, waits)
			}
			if leader = r.leader(g); leader != nil {
				target = leader.target()
			}
		}
	}); err != nil {
		return nil, err
	}
	if info == nil {
		return nil, refuse(pinetree.ErrUnknownGroup, "there is no group %d; `group ls` lists those that are", id)
	}
	if leader != nil {
		members.AddProgress(info, r.dial.Collect(ctx, id, []orders.Target{target})[0])
	}
	return &wirepb.ListGroupsResponse{Groups: []*wirepb.GroupInfo{info}}, nil
}
