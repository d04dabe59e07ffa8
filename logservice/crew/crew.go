// Package crew is goroutines that end with their owner. It knows nothing of what
// they do.
package crew

import (
	"context"
	"sync"
)

// Crew is the goroutines of one owner, who bounds how many they are. Any goroutine
// may use it.
type Crew struct {
	ctx  context.Context // ends with Close
	stop context.CancelFunc

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// New makes a crew of none. It is to be closed.
func New() *Crew {
	c := &Crew{}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// Start runs do in a goroutine of its own, under a context that ends with Close. It
// reports false, and runs nothing, once Close was called.
func (c *Crew) Start(do func(context.Context)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.running.Go(func() { do(c.ctx) })
	}
	return !c.closed
}

// Close cancels what is under way and waits for its end.
func (c *Crew) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.running.Wait()
}
