package ship

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree"
)

var errStalled = errors.New("the leader acknowledges nothing")

// watch calls stalled once nothing was acknowledged for a time although there
// was something to acknowledge, or for an eighth of it when the managers know of
// another leader by then: one that hangs does not say so itself. The returned
// function ends it.
func (w *Writer) watch(ctx context.Context, limit time.Duration, stalled func(why error)) (stop func()) {
	began := time.Now()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(limit / 8)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			w.mu.Lock()
			waited := time.Duration(0)
			if w.out.Buffered() > 0 {
				waited = min(time.Since(w.moved), time.Since(began))
			}
			from := w.node
			w.mu.Unlock()
			if waited > limit {
				stalled(fmt.Errorf("%w: nothing for %s%s", errStalled, limit, w.missing()))
				return
			}
			if waited > limit/8 {
				if other := w.client.replaced(ctx, from); other != nil {
					stalled(other)
					return
				}
			}
		}
	}()
	return func() { <-ended }
}

// replaced asks the managers whether another node leads than the one given, and
// returns where; nil when there is none, or nobody knows.
func (c *Client) replaced(ctx context.Context, from pinetree.NodeID) error {
	if c.refresh(ctx) != nil {
		return nil
	}
	return c.Route().replacedFrom(from)
}

// replacedFrom is nil unless the route names another leader.
func (r Route) replacedFrom(node pinetree.NodeID) error {
	if r.Leader == 0 || r.Leader == node {
		return nil
	}
	return fmt.Errorf("another node leads by now: %w", &pinetree.NotLeaderError{Group: r.Group, Leader: r.Leader})
}
