package ship

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// patient is the part of AttemptTimeout after which a leader that has not
// answered may have been replaced: one that hangs does not say so itself.
const patient = 8

// unlessReplaced makes a call to the leader, within a limit of time unless that is
// zero, and gives it up when the client is closed, or when it is late and another
// leads by now, as the managers say or somebody found out. Of all calls of a client
// that are late, one at a time asks the managers.
//
// It makes one context for all of that, because this is the way of every read:
// why the call was ended is beside the context and not in it.
func (c *Client) unlessReplaced(ctx context.Context, at Replica, limit time.Duration, call func(context.Context) error) error {
	ctx, cancel := bounded(ctx, limit)
	defer cancel()
	var why atomic.Pointer[error]
	end := func(reason error) {
		why.CompareAndSwap(nil, &reason)
		cancel()
	}
	defer context.AfterFunc(c.ctx, func() { end(context.Cause(c.ctx)) })()
	every := c.cfg.AttemptTimeout / patient
	var watching sync.WaitGroup
	watching.Add(1)
	late := time.AfterFunc(every, func() {
		defer watching.Done()
		for ctx.Err() == nil {
			if other := c.replacedNow(ctx, at, every); other != nil {
				end(other)
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
	cancel()
	watching.Wait()
	if reason := why.Load(); reason != nil && err != nil {
		return *reason
	}
	return err
}

// bounded is a context that ends after a limit of time; zero is none.
func bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
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
