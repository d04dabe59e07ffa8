package host

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/outcome"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Group is the handle of one replica. Its methods may be called by any
// goroutine; each posts to the worker that owns the replica and waits for the
// answer as long as its context lets it.
type Group struct {
	id      pinetree.GroupID
	host    *Host
	worker  *worker
	engine  engine.Engine
	replica *group.Replica // the worker's; nil when it was refused
	refused error          // why there is no replica

	view atomic.Pointer[group.View]
	// readUnderLease is set by each such read, which keeps the leader from going
	// quiet.
	readUnderLease atomic.Bool
	progress       replayed
	fresh          freshness
	backlog        backlog
	outcomes       outcome.Board
	carries        int // of the host's volumes; the host's

	// The worker's own.
	told       group.Role
	compacted  pinetree.RaftIndex
	arrived    *arrival    // given to raft, which has not said whether it wants it
	installing *installing // wanted by raft; nil when there is none
}

// ID is the group's.
func (g *Group) ID() pinetree.GroupID { return g.id }

// View is the replica as of its last turn. As long as nothing happens to a replica
// it is the same one.
func (g *Group) View() *group.View { return g.view.Load() }

// publish shows readers the newest view. A replica that stopped is told to
// those who wait for it to replay more, too.
func (g *Group) publish(v group.View) {
	g.view.Store(&v)
	if v.Stopped != nil {
		g.progress.Stop()
	}
}

// post tells the replica of something that is refused when too much waits.
func (g *Group) post(u urgency, do func(*group.Replica)) error {
	if g.refused != nil {
		return g.refused
	}
	return g.worker.post(event{group: g, do: do}, u)
}

// postUrgent tells the replica of something that must not be lost.
func (g *Group) postUrgent(do func(*group.Replica)) {
	// While closing, nobody is left to tell.
	_ = g.post(completion, do)
}

// ask posts a request and waits for the answer that it gives.
func ask[T any](ctx context.Context, g *Group, request func(*group.Replica, func(T, error))) (T, error) {
	return inquire(ctx, g, event{group: g}, request)
}

// inquire is ask by a given event.
func inquire[T any](ctx context.Context, g *Group, e event, request func(*group.Replica, func(T, error))) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer, 1)
	e.do = func(r *group.Replica) {
		if ctx.Err() != nil {
			return // nobody waits for it any more
		}
		request(r, func(value T, err error) { answered <- answer{value, err} })
	}
	err := g.refused
	if err == nil {
		err = g.worker.post(e, offered)
	}
	if err != nil {
		var none T
		return none, err
	}
	select {
	case a := <-answered:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("group %d: %w", g.id, ctx.Err())
	}
}

// Status reports the replica as of its last turn.
func (g *Group) Status(ctx context.Context) (group.Status, error) {
	if g.refused != nil {
		return group.Status{Group: g.id, Node: g.host.cfg.Node, Stopped: g.refused, Applied: g.progress.At()}, nil
	}
	return inquire(ctx, g, event{group: g, looks: true}, func(r *group.Replica, done func(group.Status, error)) { done(r.Status()) })
}

// Appoint makes this replica lead and returns when it does, when a newer
// appointment came, or when ctx ends, with which the try ends, too.
func (g *Group) Appoint(ctx context.Context, a group.Appointment) error {
	_, err := ask(ctx, g, func(r *group.Replica, done func(struct{}, error)) {
		r.Appoint(a, func(err error) { done(struct{}{}, err) })
	})
	if ctx.Err() != nil {
		g.postUrgent(func(r *group.Replica) { r.Unappoint(a.ID, ctx.Err()) })
	}
	return err
}

// Transfer hands the leadership over; see Replica.Transfer.
func (g *Group) Transfer(ctx context.Context, o group.TransferOrder) (group.TransferResult, error) {
	return ask(ctx, g, func(r *group.Replica, done func(group.TransferResult, error)) { r.Transfer(o, done) })
}

// Release gives up the lease of an appointment for good. When it returns, no
// read is answered under it any more.
func (g *Group) Release(ctx context.Context, id pinetree.AppointmentID) error {
	_, err := ask(ctx, g, func(r *group.Replica, done func(struct{}, error)) {
		r.Release(id)
		done(struct{}{}, nil)
	})
	return err
}

// Grant takes a lease that was asked for at the given instant. Grants that come
// too late or for another leadership do not count.
func (g *Group) Grant(grant lease.Grant, asked lease.Instant) {
	g.postUrgent(func(r *group.Replica) { r.Grant(grant, asked) })
}

// CreateVolume adds a volume to the group, durable on a quorum and replayed
// here on return. Adding it again with the same format is no error.
func (g *Group) CreateVolume(ctx context.Context, id pinetree.VolumeID, format pinetree.Format) error {
	if id == 0 || format != pinetree.FormatOpaque && format != pinetree.FormatRedo {
		return fmt.Errorf("%w: volume %d with format %d; formats are opaque (1) and redo (2)", pinetree.ErrBadBatch, id, format)
	}
	if store, picky := g.host.cfg.Engines.(engine.Formats); picky {
		if err := store.Supports(format); err != nil {
			return err
		}
	}
	_, err := ask(ctx, g, func(r *group.Replica, done func(struct{}, error)) {
		r.CreateVolume(id, format, func(err error) { done(struct{}{}, err) })
	})
	return err
}

// Control puts a control into the group's log. It is durable on a quorum and
// replayed here on return.
func (g *Group) Control(ctx context.Context, c *storepb.Control) error {
	_, err := ask(ctx, g, func(r *group.Replica, done func(struct{}, error)) {
		r.Control(c, func(err error) { done(struct{}{}, err) })
	})
	return err
}

// Open fences the compute terms below the given one; see Replica.Open.
func (g *Group) Open(ctx context.Context, id pinetree.VolumeID, fence adapter.Fence) (group.Opened, error) {
	return ask(ctx, g, func(r *group.Replica, done func(group.Opened, error)) { r.Open(id, fence, done) })
}

// Resolution is what became of an append.
type Resolution struct {
	Outcome adapter.Outcome
	Durable pinetree.LSN
	Term    pinetree.ComputeTerm // the one that is open
}

// Resolve tells what became of an append. It asks a quorum, so that the answer
// is the last word.
func (g *Group) Resolve(ctx context.Context, id pinetree.VolumeID, a adapter.Append) (Resolution, error) {
	if !g.view.Load().Leads {
		return Resolution{}, g.notLeader()
	}
	if err := g.quorum(ctx); err != nil {
		return Resolution{}, err
	}
	return ask(ctx, g, func(r *group.Replica, done func(Resolution, error)) {
		outcome, at, err := r.Resolve(id, a)
		done(Resolution{Outcome: outcome, Durable: at.LSN, Term: at.Term()}, err)
	})
}

// Replayed is what the replica has replayed, and what of it surely survives a crash;
// nothing of one whose engine could not be opened.
func (g *Group) Replayed() (applied, flushed pinetree.Position) {
	if g.engine == nil {
		return applied, flushed
	}
	flushed = g.engine.Flushed() // first, so that it is not above the other
	return g.engine.Position(), flushed
}

// Leading is nil while this replica answers for its group, and else the refusal that
// names the leader as far as it is known.
func (g *Group) Leading() error {
	if g.refused == nil && g.view.Load().Leads {
		return nil
	}
	return g.notLeader()
}

// Watermarks of a volume as this replica knows them. What a read was served
// before the call is applied in them, though the worker may hear of it later
// than the reader.
func (g *Group) Watermarks(ctx context.Context, id pinetree.VolumeID) (pinetree.Watermarks, error) {
	if g.refused != nil {
		return pinetree.Watermarks{}, g.refused
	}
	flushed := g.engine.Flushed().Volumes[id].LSN // before the rest, so that it is not above it
	applied := g.engine.Position().Volumes[id].LSN
	w, err := ask(ctx, g, func(r *group.Replica, done func(pinetree.Watermarks, error)) { done(r.Watermarks(id)) })
	if err != nil {
		return pinetree.Watermarks{}, err
	}
	w.Applied = max(w.Applied, applied)
	w.Committed = max(w.Committed, w.Applied)
	w.Ordered = max(w.Ordered, w.Committed)
	w.Received = max(w.Received, w.Ordered)
	// While a snapshot is being installed, the engine is ahead.
	w.Flushed = max(w.Truncated, min(flushed, w.Applied))
	return w, nil
}

// notLeader is the refusal of a replica that does not lead, with a hint.
func (g *Group) notLeader() error {
	if g.refused != nil {
		return g.refused
	}
	v := g.view.Load()
	if v.Stopped != nil {
		return v.Stopped
	}
	leader := v.Leader
	if leader == g.host.cfg.Node {
		leader = 0 // leads, but is not ready or not activated yet
	}
	return &pinetree.NotLeaderError{Group: g.id, Leader: leader}
}
