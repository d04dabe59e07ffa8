package host

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
)

// Answer tells how a read was answered.
type Answer struct {
	// Level is pinetree.ReadConsistent where a default read found no lease.
	Level pinetree.ReadLevel
	// Stale: every append that was acknowledged longer than this before the read
	// began is in what was read. Negative when that is unknown.
	Stale time.Duration
}

// freshness is the last instant of which a replica knows that it has replayed
// every append acknowledged before it. What the replica hears from its leader
// does not tell: a message may have been under way for any time, and a heartbeat
// names a follower no commit index beyond its own log. Only an answer to a
// question does, and it counts from before the question. The zero freshness
// knows of no instant. Any goroutine may use it.
type freshness struct {
	instant atomic.Int64
	asking  atomic.Bool // a question is under way beside the reads
}

// prove takes note of an instant.
func (f *freshness) prove(at lease.Instant) {
	for {
		known := f.instant.Load()
		if known >= int64(at) || f.instant.CompareAndSwap(known, int64(at)) {
			return
		}
	}
}

// stale is how old the state may be for a read that began at an instant;
// negative when that is unknown.
func (f *freshness) stale(began lease.Instant) time.Duration {
	known := lease.Instant(f.instant.Load())
	if known == 0 {
		return -1
	}
	return max(0, began.Sub(known))
}

// atMost waits until this replica knows that it is no staler than a bound for a
// read that began at an instant. That costs nothing while a proof is recent
// enough or the lease is held, and else a quorum's answer, which then serves
// all reads for as long as the bound. While reads keep coming, the quorum is asked
// beside them before the bound is over, and none of them waits.
func (g *Group) atMost(ctx context.Context, bound time.Duration, began lease.Instant) error {
	if known := g.fresh.stale(began); known >= 0 && known <= bound {
		if known > bound/2 {
			g.proveAhead()
		}
		return nil
	}
	asked := g.host.cfg.Clock()
	v := g.view.Load()
	if v.Leads && g.host.cfg.Clock() < v.Lease && g.progress.Reached(v.Committed) {
		g.fresh.prove(asked)
		return nil
	}
	if err := g.quorum(ctx); err != nil {
		return fmt.Errorf("this replica cannot tell that it is at most %v behind: %w", bound, err)
	}
	return nil
}

// maxProof is how long a question beside the reads may take.
const maxProof = 2 * time.Second

// proveAhead asks a quorum unless that is under way already. Nobody waits for it.
func (g *Group) proveAhead() {
	if !g.fresh.asking.CompareAndSwap(false, true) {
		return
	}
	begun := g.host.proofs.Start(func(ctx context.Context) {
		defer g.fresh.asking.Store(false)
		ctx, cancel := context.WithTimeout(ctx, maxProof)
		defer cancel()
		_ = g.quorum(ctx) // without an answer, the next read asks itself
	})
	if !begun {
		g.fresh.asking.Store(false)
	}
}
