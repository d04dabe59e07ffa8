package ship

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
)

// patient is the part of AttemptTimeout after which a leader that has not
// answered may have been replaced: one that hangs does not say so itself.
const patient = 8

// unlessReplaced makes a call to the leader, and gives it up when it is late and
// another leads by now, as the managers say or somebody found out. Of all calls
// of a client that are late, one at a time asks the managers.
func (c *Client) unlessReplaced(ctx context.Context, at Replica, call func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	every := c.cfg.AttemptTimeout / patient
	var watching sync.WaitGroup
	watching.Add(1)
	late := time.AfterFunc(every, func() {
		defer watching.Done()
		for ctx.Err() == nil {
			if other := c.replacedNow(ctx, at, every); other != nil {
				cancel(other)
				return
			}
			select {
			case <-time.After(every):
			case <-ctx.Done():
			}
		}
	})
	err := call(ctx)
	if late.Stop() {
		watching.Done()
	}
	why := context.Cause(ctx)
	cancel(nil)
	watching.Wait()
	if _, left := errors.AsType[*pinetree.NotLeaderError](why); left && err != nil {
		return why
	}
	return err
}

// replacedNow is replaced, at most once in an interval. In between it goes by
// what is known.
func (c *Client) replacedNow(ctx context.Context, at Replica, interval time.Duration) error {
	c.mu.Lock()
	now := time.Now()
	ask := now.Sub(c.doubted) >= interval
	if ask {
		c.doubted = now
	}
	c.mu.Unlock()
	if ask {
		return c.replaced(ctx, at.Node)
	}
	return c.Route().replacedFrom(at.Node)
}
