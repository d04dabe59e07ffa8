package host

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/manifest"
	"github.com/pinetree-db/pinetree/logservice/membership"
	"github.com/pinetree-db/pinetree/raftlog"
)

// ChangeMembership changes who is in the group; see Replica.ChangeMembership. It
// returns the members that there are.
func (g *Group) ChangeMembership(ctx context.Context, c membership.Change) (membership.Members, error) {
	return ask(ctx, g, func(r *group.Replica, done func(membership.Members, error)) { r.ChangeMembership(c, done) })
}

// CreateBlank makes a replica that waits for its first state, durable on return,
// for a node that is to become a member of a group that there is. It votes for
// nobody until it has the state. A replica that is there is left as it is, but
// for one that was removed from its group: RemoveReplica first.
func (h *Host) CreateBlank(ctx context.Context, id pinetree.GroupID) error {
	if id == 0 {
		return fmt.Errorf("%w: zero is no group", pinetree.ErrBadBatch)
	}
	return h.writer.do(ctx, func(store raftlog.Store) error {
		if g, err := h.Group(id); err == nil {
			return g.refuseBlank()
		}
		if err := cmp.Or(h.refuseDeleted(id), h.refuseOrphan(store, id)); err != nil {
			return err
		}
		if err := h.cfg.Engines.Create(id, pinetree.Position{}); err != nil {
			return err
		}
		return h.open(id)
	})
}

// refuseBlank says why a replica that is there cannot be the one to be created.
func (g *Group) refuseBlank() error {
	if g.refused != nil {
		return g.refused
	}
	if stopped := g.view.Load().Stopped; group.Removed(stopped) {
		return fmt.Errorf("%w: group %d has a replica on node %d that was removed from it; remove its files first", pinetree.ErrExists, g.id, g.host.cfg.Node)
	}
	return nil
}

// refuseOrphan refuses to create a replica whose raft log is there without its
// engine: what it voted for and acknowledged must not be forgotten.
func (h *Host) refuseOrphan(store raftlog.Store, id pinetree.GroupID) error {
	log := store.View(id)
	last, err := log.LastIndex()
	if err != nil {
		return err
	}
	hard, err := log.HardState()
	if err != nil {
		return err
	}
	if last > 1 || hard.GetVote() != 0 || hard.GetTerm() > 1 {
		return fmt.Errorf("%w: group %d has a raft log on node %d, up to index %d in raft term %d, and no state: its engine was lost; restore it, or remove the replica and have node %d added to the group anew",
			pinetree.ErrExists, id, h.cfg.Node, last, hard.GetTerm(), h.cfg.Node)
	}
	return nil
}

// RemoveReplica ends a replica and removes its files, durably on return. It is
// for one whose node is no member of the group any more, which only the group's
// leader knows for sure: a voter without its files must never come back. The
// leader itself is refused. Removing what is not there is no error.
func (h *Host) RemoveReplica(ctx context.Context, id pinetree.GroupID) error {
	return h.remove(ctx, id, func(r *group.Replica) error {
		if r.Role().Leads {
			return fmt.Errorf("%w: node %d leads group %d; move the leadership first", pinetree.ErrBadBatch, h.cfg.Node, id)
		}
		r.Stop(errOrdered)
		return nil
	})
}

// DeleteReplica ends the replica of a group that is no more, leader or not, and
// removes its files, durably on return. Until this process ends, the group cannot
// be created here again: an order to create it that was given before may come
// after. Deleting what is not there is no error.
func (h *Host) DeleteReplica(ctx context.Context, id pinetree.GroupID) error {
	h.mu.Lock()
	if !slices.Contains(h.deleted, id) {
		h.deleted = append(h.deleted[max(0, len(h.deleted)+1-maxDeleted):], id)
	}
	h.mu.Unlock()
	return h.remove(ctx, id, func(r *group.Replica) error { r.Stop(errDeleted); return nil })
}

// maxDeleted bounds the deleted groups that are remembered: an order is on its
// way for some seconds, and deletions take longer than that to become so many.
const maxDeleted = 4096

// refuseDeleted refuses to create a group that was deleted.
func (h *Host) refuseDeleted(id pinetree.GroupID) error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if slices.Contains(h.deleted, id) {
		return fmt.Errorf("%w: group %d was deleted; its id is never used again", pinetree.ErrUnknownGroup, id)
	}
	return nil
}

// remove has a replica stop, waits until nothing uses its files, and removes them.
func (h *Host) remove(ctx context.Context, id pinetree.GroupID, stop func(*group.Replica) error) error {
	g, err := h.Group(id)
	if err == nil && g.replica != nil {
		if err := g.end(ctx, stop); err != nil {
			return err
		}
	}
	return h.writer.do(ctx, func(store raftlog.Store) error {
		h.forget(id)
		// The log first: an engine without one refuses to start, and is removed
		// by the next order.
		if err := store.Remove(id); err != nil {
			return err
		}
		return h.cfg.Engines.Remove(id)
	})
}

// end stops the replica and waits until nothing uses its engine.
func (g *Group) end(ctx context.Context, stop func(*group.Replica) error) error {
	_, err := ask(ctx, g, func(r *group.Replica, done func(struct{}, error)) { done(struct{}{}, stop(r)) })
	if err != nil {
		return err
	}
	for wait := time.Millisecond; !g.host.appliers.idle(g); wait = min(2*wait, 50*time.Millisecond) {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("group %d: waiting for its engine to come to rest: %w", g.id, ctx.Err())
		}
	}
	return nil
}

var (
	errOrdered = fmt.Errorf("%w: the replica is being removed", pinetree.ErrStopped)
	errDeleted = fmt.Errorf("%w: the group was deleted", pinetree.ErrStopped)
)

// idle tells whether nothing of a group is being replayed or waits to be.
func (a *appliers) idle(g *Group) bool {
	g.backlog.mu.Lock()
	defer g.backlog.mu.Unlock()
	return g.backlog.Idle()
}

// forget takes a group out of the tables.
func (h *Host) forget(id pinetree.GroupID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.groups[id]
	delete(h.groups, id)
	for v, owner := range h.volumes {
		if owner == g && g != nil {
			delete(h.volumes, v)
		}
	}
}

// finishRestore completes what a crash between an engine's taking over of a
// snapshot and the new start of the raft log left undone.
func (h *Host) finishRestore(id pinetree.GroupID) error {
	state, err := h.cfg.Engines.Open(id)
	if err != nil {
		return fmt.Errorf("group %d: %w", id, err)
	}
	update, err := manifest.FinishRestore(id, h.cfg.Log.View(id), state.Position())
	if err != nil || update == nil {
		return err
	}
	h.cfg.Logger.Info("the raft log begins anew after a snapshot that the engine holds", "group", id, "index", update.Restart.Index)
	ctx, cancel := context.WithTimeout(context.Background(), maxReadWait)
	defer cancel()
	return h.writer.do(ctx, func(store raftlog.Store) error { return store.Save([]raftlog.Update{*update}) })
}
