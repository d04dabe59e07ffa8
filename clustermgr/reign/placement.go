package reign

import (
	"context"
	"slices"
	"strings"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/members"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/clustermgr/upkeep"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// tend begins what is due about replicas. What cannot be begun now is planned
// again when the cluster is looked at again.
func (r *Reign) tend(c upkeep.Cluster, now lease.Instant) {
	plan := upkeep.Replicas(c, r.cfg.Replicas)
	if plan.Again > 0 {
		r.chores.due = now.Add(plan.Again)
	}
	for id, note := range plan.Notes {
		n := r.nodes[id]
		n.Note = strings.TrimPrefix(n.Note+"; "+note, "; ")
	}
	if r.tending > 0 { // the store is slow, and the plan does not know of what it has not taken yet
		r.chores.news = true
		return
	}
	if plan.Weighed {
		r.weighed = now
	}
	begin := func(task func()) {
		r.tending++
		r.spawn(func() { task(); r.tell(func() { r.tending-- }) })
	}
	for _, p := range plan.Changes {
		c := ledger.ReplicaChange{Add: p.Change.Add, Remove: p.Change.Remove, Cause: p.Why, Replaces: p.Replaces}
		begin(func() {
			if _, err := r.recordChange(r.ctx, p.Group, c); err != nil {
				r.log.Info("a change of replicas is not begun", "group", p.Group, "change", p.Change.String(), "reason", err)
			}
		})
	}
	for _, id := range plan.Gone {
		begin(func() { r.forgetNode(id) })
	}
}

// describe adds to a snapshot who votes and which replicas are of no use.
func (r *Reign) describe(s *upkeep.Group, g *group, leader *wirepb.ReplicaStatus, now lease.Instant) {
	members.Describe(s, g.Is, leader)
	for i := range s.Replicas {
		replica := &s.Replicas[i]
		var why string
		if n := r.nodes[replica.Node]; n != nil && replica.Votes && g.Is.Created && n.Vitals.Health(now, r.ward.Thresholds()) == policy.Alive {
			why = policy.Useless(n.replicas[g.id], n.reported != 0)
		}
		r.losses.Note(members.Place{Group: g.id, Node: replica.Node}, why, now, replica)
	}
}

// recordChange records a change of a group's replicas, which begins it.
func (r *Reign) recordChange(ctx context.Context, id pinetree.GroupID, c ledger.ReplicaChange) (ledger.Group, error) {
	next, err := r.hands.Begin(ctx, c, func() (*members.Group, error) {
		g := r.groups[id]
		if g == nil {
			return nil, refuse(pinetree.ErrUnknownGroup, "there is no group %d", id)
		}
		if n := r.nodes[c.Add]; n != nil && n.Is.Leaving {
			return nil, notYet("node %d is leaving the cluster and is given no replicas", c.Add)
		}
		return &g.Kept, nil
	}, r.known)
	if err == nil {
		r.tell(func() {
			if g := r.groups[id]; g != nil {
				g.changeAt = 0
				r.lookAtReplicas(g, r.cfg.Clock())
			}
		})
	}
	return next, err
}

// RemoveNode serves RemoveNode.
func (r *Reign) RemoveNode(ctx context.Context, q *wirepb.RemoveNodeRequest) (*wirepb.RemoveNodeResponse, error) {
	id, leave := pinetree.NodeID(q.GetNode()), !q.GetStay()
	err := r.hands.Mark(ctx, func() (*members.Node, error) {
		n := r.nodes[id]
		if n == nil && leave && id <= r.counters.Is.Node && id != 0 {
			return nil, nil // removed already
		}
		if n == nil {
			return nil, members.Unknown(id, r.counters.Is.Node)
		}
		if leave && !n.Is.Leaving {
			if why := upkeep.CannotLeave(r.snapshot(r.cfg.Clock()), id); len(why) > 0 {
				return nil, notYet("node %d cannot leave: %s", id, strings.Join(why, "; "))
			}
		}
		return &n.Kept, nil
	}, func(n *ledger.Node) { n.Leaving = leave }, members.Either(leave, "node_leaving", "node_stays"))
	if err != nil {
		return nil, err
	}
	return list(ctx, r, func() (*wirepb.RemoveNodeResponse, error) {
		if n := r.nodes[id]; n != nil {
			return &wirepb.RemoveNodeResponse{Info: r.nodeInfo(n)}, nil
		}
		return &wirepb.RemoveNodeResponse{Removed: true}, nil
	})
}

// forgetNode ends the record of a node that leaves and has nothing left. Nothing
// comes to it meanwhile: one that leaves is given no replicas.
func (r *Reign) forgetNode(id pinetree.NodeID) {
	err := r.hands.ForgetNode(r.ctx, func() *members.Node {
		n := r.nodes[id]
		if n == nil || !slices.Contains(upkeep.Replicas(r.snapshot(r.cfg.Clock()), r.cfg.Replicas).Gone, id) {
			return nil
		}
		return &n.Kept
	}, func() {
		n := r.nodes[id]
		n.Gone = true
		if n.session != nil {
			close(n.session.over)
		}
		delete(r.nodes, id)
	})
	if err != nil {
		r.log.Warn("a node that has left is not forgotten yet", "node", id, "reason", err)
	}
}

// SafeToStop serves SafeToStop.
func (r *Reign) SafeToStop(ctx context.Context, q *wirepb.SafeToStopRequest) (*wirepb.SafeToStopResponse, error) {
	return list(ctx, r, func() (*wirepb.SafeToStopResponse, error) {
		id := pinetree.NodeID(q.GetNode())
		if r.nodes[id] == nil {
			return nil, members.Unknown(id, r.counters.Is.Node)
		}
		s := upkeep.Stop(r.snapshot(r.cfg.Clock()), id)
		return &wirepb.SafeToStopResponse{Safe: len(s.Reasons) == 0, Reasons: s.Reasons, Notes: s.Notes}, nil
	})
}
