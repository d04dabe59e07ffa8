package reign

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/members"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// lookAtReplicas takes the next step of a group's change of replicas, or of the
// removal of files that one has left behind. That runs beside the group's other
// operations, for a leader must be found while a replica is slow to catch up. A
// step follows from what the leader says, so a manager that takes office goes on
// where the one before has stopped.
func (r *Reign) lookAtReplicas(g *group, now lease.Instant) {
	if g.changing || now < g.changeAt || r.operations >= r.cfg.MaxOperations {
		return
	}
	task := r.changeTask(g)
	if task == nil {
		task = r.cleanTask(g)
	}
	if task == nil {
		return
	}
	g.changing = true
	r.operations++
	r.spawn(func() {
		err := task()
		r.tell(func() {
			g.changing = false
			r.operations--
			r.noteStep(g, err)
			r.lookAtReplicas(g, r.cfg.Clock())
			r.notify()
		})
	})
}

// noteStep takes note of what a change waits for, and when to look again.
func (r *Reign) noteStep(g *group, waits error) {
	if waits == nil {
		g.changeNote = ""
		return
	}
	if note := waits.Error(); note != g.changeNote {
		r.log.Info("a change of replicas waits", "group", g.id, "reason", note)
		g.changeNote = note
	}
	g.changeAt = r.cfg.Clock().Add(r.cfg.ChangePace)
}

// changeTask is the next step of a change; nil when there is none under way.
func (r *Reign) changeTask(g *group) func() error {
	if g.Is.Change == nil {
		return nil
	}
	leader := r.leader(g)
	if leader == nil {
		return func() error { return errors.New("the group has no leader now") }
	}
	c := members.Change{ID: g.id, Group: &g.Kept, Record: *g.Is.Change, Leader: leader.target()}
	if n := r.nodes[c.Record.Add]; n != nil {
		c.Add, c.Absent = n.target(), n.replicas[g.id] == nil
	}
	return func() error { return r.hands.Step(r.ctx, c) }
}

// newHands makes what carries changes out.
func (r *Reign) newHands() members.Hands {
	return members.Hands{
		Dial: r.dial, Persist: r.persist, Note: r.event, Do: r.do, Tell: r.tell, MaxQuorumAge: r.cfg.Lease.MaxQuorumAge,
		Depose: func(ctx context.Context, group pinetree.GroupID) error {
			moved, err := r.moveLeader(ctx, &wirepb.MoveLeaderRequest{Group: uint64(group)}, 0)
			if err == nil && !moved.GetMoved() {
				err = errors.New(moved.GetReason())
			}
			return err
		},
	}
}

// cleanTask has the nodes that live remove the files of replicas that are no
// members any more, and ends the record of a deleted group that has none left;
// nil when there is nothing to be done.
func (r *Reign) cleanTask(g *group) func() error {
	if r.deleted[g.id] != nil && len(g.Is.Removed) == 0 && g.busy == "" && !g.activating {
		return func() error { return r.hands.Forget(r.ctx, &g.Kept, func() { delete(r.deleted, g.id) }) }
	}
	c := members.Cleaning{ID: g.id, Group: &g.Kept, AsOf: g.Is.Removed, Deleted: g.Is.Deleted}
	for _, id := range slices.Sorted(maps.Keys(g.Is.Removed)) {
		switch n := r.nodes[id]; {
		case n == nil, n.Is.Leaving && r.health(n) == policy.Dead:
			c.Gone = append(c.Gone, id)
		case r.health(n) == policy.Alive && policy.AllKnow(r.situation(g, r.cfg.Clock()), g.Is.Removed[id]):
			c.Nodes = append(c.Nodes, n.target())
		}
	}
	if len(c.Nodes)+len(c.Gone) == 0 {
		return nil
	}
	return func() error { return r.hands.Clean(r.ctx, c) }
}
