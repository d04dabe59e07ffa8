package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/fanout"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/progress"
)

// maxReadWait is the deadline of a read whose caller gave none.
const maxReadWait = 10 * time.Second

// ReadRequest says what is read and how fresh it must be.
type ReadRequest struct {
	Volume pinetree.VolumeID
	Level  pinetree.ReadLevel
	MinLSN pinetree.LSN // wait until the volume is replayed up to here
	// MaxStale, when not zero, refuses a stale read that this replica cannot tell
	// to be so fresh.
	MaxStale time.Duration
}

// Read calls fn with a reader of the volume whose newest state is as fresh as
// asked for, and returns how it was answered: a default read without a lease is
// answered as a consistent one. fn may be called twice; the last call counts.
// Without a deadline in ctx it ends after ten seconds.
func (g *Group) Read(ctx context.Context, q ReadRequest, fn func(engine.Reader) error) (Answer, error) {
	answer := Answer{Level: q.Level}
	if g.refused != nil {
		return answer, g.refused
	}
	began := g.host.cfg.Clock()
	if end, bounded := ctx.Deadline(); !bounded || time.Until(end) > maxReadWait {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, maxReadWait)
		defer cancel()
	}
	if q.MinLSN > 0 {
		if err := g.reach(ctx, q.Volume, q.MinLSN); err != nil {
			return answer, err
		}
	}
	switch q.Level {
	case pinetree.ReadStale:
		if q.MaxStale > 0 {
			if err := g.atMost(ctx, q.MaxStale, began); err != nil {
				return answer, err
			}
		}
		answer.Stale = g.fresh.stale(began) // before the state is read
		return answer, g.read(q.Volume, fn)
	case pinetree.ReadDefault:
		leased, err := g.readLeased(ctx, q.Volume, fn)
		if leased || err != nil {
			return answer, err
		}
	case pinetree.ReadConsistent:
	}
	answer.Level = pinetree.ReadConsistent
	if err := g.quorum(ctx); err != nil {
		return answer, err
	}
	return answer, g.read(q.Volume, fn)
}

// readLeased reads under the lease: it must be held before, when the commit
// index is taken, and still after the read, in the same raft term. It reports
// false when there is no lease.
func (g *Group) readLeased(ctx context.Context, id pinetree.VolumeID, fn func(engine.Reader) error) (bool, error) {
	before := g.view.Load()
	if !before.Leads {
		return false, g.notLeader()
	}
	if g.host.cfg.Clock() >= before.Lease {
		return false, nil
	}
	if !g.readUnderLease.Load() {
		g.readUnderLease.Store(true)
	}
	_, err := g.progress.Wait(ctx, func(at pinetree.Position) bool { return at.Index >= before.Committed })
	if err != nil {
		return false, fmt.Errorf("group %d: waiting for index %d to be replayed: %w", g.id, before.Committed, err)
	}
	err = g.read(id, fn)
	after := g.view.Load()
	if !after.Leads || after.Term != before.Term || g.host.cfg.Clock() >= after.Lease {
		return false, nil
	}
	return true, err
}

// read runs fn on what is replayed now. A replica that finds its state damaged is
// not to be believed in the rest either: it stops, and another one leads.
func (g *Group) read(id pinetree.VolumeID, fn func(engine.Reader) error) error {
	if v := g.view.Load(); v.Stopped != nil {
		return v.Stopped
	}
	reader, err := g.engine.Volume(id)
	if err != nil {
		return err
	}
	err = fn(reader)
	if v := g.view.Load(); v.Stopped != nil {
		return v.Stopped // a replica that is removed loses its engine beneath the reader
	}
	if errors.Is(err, pinetree.ErrCorrupt) {
		g.postUrgent(func(r *group.Replica) { r.Stop(err) })
	}
	return err
}

// quorum waits until what is replayed here reflects every append that was
// acknowledged before the call.
func (g *Group) quorum(ctx context.Context) error {
	forgets := make(chan func(), 1)
	asked := g.host.cfg.Clock()
	index, err := ask(ctx, g, func(r *group.Replica, done func(pinetree.RaftIndex, error)) {
		forgets <- r.ReadIndex(done)
	})
	if err != nil {
		g.postUrgent(func(*group.Replica) {
			select {
			case cancel := <-forgets:
				cancel()
			default: // it was not asked
			}
		})
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%w: no quorum answered in time (%w)", pinetree.ErrNoLease, err)
		}
		return err
	}
	_, err = g.progress.Wait(ctx, func(at pinetree.Position) bool { return at.Index >= index })
	if err != nil {
		return fmt.Errorf("group %d: waiting for index %d to be replayed: %w", g.id, index, err)
	}
	g.fresh.prove(asked)
	return nil
}

// reach waits until the volume is replayed up to an LSN.
func (g *Group) reach(ctx context.Context, id pinetree.VolumeID, lsn pinetree.LSN) error {
	at, err := g.progress.WaitVolume(ctx, id, func(v pinetree.VolumePosition) bool { return v.LSN >= lsn })
	if err != nil {
		return fmt.Errorf("volume %d: waiting for %s to be replayed, it is at %s: %w", id, lsn, at.LSN, err)
	}
	return nil
}

// replayed is how far a replica has replayed, for those who wait for it and those
// who follow its logs.
type replayed struct {
	progress.Replayed
	tails *fanout.Replica
}

// Reach tells both of a new position.
func (r *replayed) Reach(at pinetree.Position) {
	r.tails.Applied(at)
	r.Replayed.Reach(at)
}

// Stop ends all waiting, now and later.
func (r *replayed) Stop() {
	r.tails.Stop()
	r.Replayed.Stop()
}

// Tail begins a tail of a volume; see fanout.Replica.Open.
func (g *Group) Tail(id pinetree.VolumeID) (*fanout.Tail, error) {
	if g.refused != nil {
		return nil, g.refused
	}
	return g.progress.tails.Open(id, g.engine.Position().Volumes[id].Settings.MaxTails)
}

// Tails tells what all tails of the node take.
func (h *Host) Tails() fanout.Stats { return h.tails.Stats() }
