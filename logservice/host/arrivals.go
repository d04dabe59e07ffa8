package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/manifest"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// arrival is the state of a snapshot that came from another replica. It is the
// receiver's until all of it is written, then the replica's: whoever takes it
// has it to close.
type arrival struct {
	restore engine.Restore
	taken   atomic.Bool
}

// take makes the arrival the caller's; false when somebody else has it.
func (a *arrival) take() bool { return a.taken.CompareAndSwap(false, true) }

// TakeSnapshot takes in a snapshot from another node: the message that raft sent
// and, from next until io.EOF, the chunks of the state. When it returns nil the
// replica has the state, durable in engine and log. On an error, one of next
// included, the state before is untouched, or the replica stops: a crash at any
// point leaves the one or the other whole. When ctx ends while the replica is
// installing what has arrived, that goes on.
func (h *Host) TakeSnapshot(ctx context.Context, from pinetree.NodeID, m wirepb.GroupMessage, next func() ([]byte, error)) error {
	g, err := h.Group(m.Group)
	if err != nil {
		return err
	}
	if m.Message.GetFrom() != uint64(from) {
		return fmt.Errorf("%w: node %d sends a snapshot of node %d", pinetree.ErrBadBatch, from, m.Message.GetFrom())
	}
	at, err := manifest.Position(m.Message)
	if err != nil {
		return err
	}
	_, err = ask(ctx, g, func(r *group.Replica, done func(struct{}, error)) { done(struct{}{}, r.WelcomeSnapshot(m.Message)) })
	if err != nil {
		return err
	}
	restore, err := h.cfg.Engines.Restore(g.id, at)
	if err != nil {
		return fmt.Errorf("group %d: %w", g.id, err)
	}
	a := &arrival{restore: restore}
	err = a.write(next)
	if err == nil {
		err = g.install(ctx, m.Message, a)
	}
	if a.take() {
		err = errors.Join(err, restore.Close())
	}
	return err
}

func (a *arrival) write(next func() ([]byte, error)) error {
	for {
		chunk, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := a.restore.Write(chunk); err != nil {
			return err
		}
	}
}

// install gives the replica what has arrived, and waits until it is durable or
// not wanted.
func (g *Group) install(ctx context.Context, m *raftpb.Message, a *arrival) error {
	answered := make(chan error, 1)
	err := g.post(completion, func(r *group.Replica) {
		if !a.take() {
			return // nobody waits any more
		}
		g.arrived = a
		r.TakeSnapshot(m, func(err error) {
			g.discard(a)
			answered <- err
		})
	})
	if err != nil {
		return err
	}
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return fmt.Errorf("group %d: %w", g.id, ctx.Err())
	}
}

// discard lets the appliers close an arrival that is not going to be installed.
func (g *Group) discard(a *arrival) {
	if g.arrived == a {
		g.arrived = nil
		g.host.appliers.schedule(g, func(b *backlog) { b.discard(a) })
	}
}

// installing is a snapshot that raft wants: the engine takes it over when all
// that was committed before is replayed, then the log begins anew after it, and
// then come the writes that raft asked for meanwhile. It is the worker's.
type installing struct {
	save  group.Save
	later []group.Save
}

// save gives a write to the log writer, in raft's order.
func (g *Group) save(s group.Save) {
	switch {
	case g.installing != nil:
		// Bounded by what raft lets be in flight to one follower.
		g.installing.later = append(g.installing.later, s)
	case s.Install != nil:
		a := g.arrived
		g.arrived, g.installing = nil, &installing{save: s}
		g.host.appliers.schedule(g, func(b *backlog) { b.welcome(a) })
	default:
		g.host.writer.save(g, s)
	}
}

// restored is called when the engine has taken the state over.
func (g *Group) restored(at pinetree.Position) {
	in := g.installing
	g.installing = nil
	if g.view.Load().Stopped != nil {
		return
	}
	g.compacted = max(g.compacted, at.Index)
	g.host.writer.save(g, in.save)
	for _, s := range in.later {
		g.save(s)
	}
}

// takeOver has the engine take over a state that has arrived, once all that was
// committed before is replayed, and closes what is not wanted. why is not nil
// when the group's appliers have failed.
func (a *appliers) takeOver(g *Group, why error) error {
	g.backlog.mu.Lock()
	unwanted := g.backlog.unwanted
	g.backlog.unwanted = nil
	var due *arrival
	if g.backlog.Drained() || why != nil {
		due, g.backlog.arrival = g.backlog.arrival, nil
	}
	if due != nil {
		g.backlog.Hold() // no write is prepared on a state that is about to go
	}
	g.backlog.mu.Unlock()
	for _, u := range unwanted {
		if err := u.restore.Close(); err != nil {
			a.host.cfg.Logger.Warn("what is left of a snapshot that was not wanted could not be thrown away", "group", g.id, "err", err)
		}
	}
	if due == nil {
		return why
	}
	if why != nil {
		return errors.Join(why, due.restore.Close())
	}
	if err := errors.Join(due.restore.Commit(), due.restore.Close()); err != nil {
		return err
	}
	at := g.engine.Position()
	g.progress.Reach(at)
	a.host.learnVolumes(g, at)
	g.postUrgent(func(*group.Replica) { g.restored(at) })
	return nil
}

// welcome has the engine take over what has arrived.
func (b *backlog) welcome(a *arrival) {
	b.arrival = a
	b.AskChores()
}

// discard has what has arrived closed.
func (b *backlog) discard(a *arrival) {
	b.unwanted = append(b.unwanted, a)
	b.AskChores()
}

// abandonArrivals closes what the appliers, which have ended, did not come to.
func (h *Host) abandonArrivals() error {
	var errs []error
	for _, g := range h.Groups() {
		if a := g.backlog.arrival; a != nil {
			g.backlog.unwanted = append(g.backlog.unwanted, a)
		}
		for _, u := range g.backlog.unwanted {
			errs = append(errs, u.restore.Close())
		}
		g.backlog.arrival, g.backlog.unwanted = nil, nil
	}
	return errors.Join(errs...)
}
