package front

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/pinetree-db/pinetree/test/bench/peers/load"
)

// client sends frames over one connection. Whoever submits while nobody is
// sending sends for all until nothing is left; so an idle connection has no
// delay, and a busy one large writes.
type client struct {
	sink load.Sink
	// send hands frames to the connection, and returns a buffer to fill next.
	send    func(frames []byte) ([]byte, error)
	hangUp  func() error
	running sync.WaitGroup

	mu      sync.Mutex
	outbox  []byte // frames that are not sent
	spare   []byte
	waiting []*load.Record // not acknowledged, in the order of their frames
	sending bool
	closed  bool
}

func newClient(sink load.Sink, send func([]byte) ([]byte, error)) *client {
	return &client{sink: sink, send: send}
}

// Submit implements load.Client.
func (c *client) Submit(records []*load.Record) {
	c.mu.Lock()
	for _, r := range records {
		c.outbox = AppendFrame(c.outbox, r.Payload)
	}
	c.waiting = append(c.waiting, records...)
	if c.sending {
		c.mu.Unlock()
		return
	}
	c.sending = true
	c.mu.Unlock()
	// Workers that can run now have their records in the same write.
	runtime.Gosched()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.outbox) > 0 && !c.closed {
		frames := c.outbox
		c.outbox, c.spare = c.spare, nil
		c.mu.Unlock()
		buf, err := c.send(frames)
		c.mu.Lock()
		c.spare = buf
		if err != nil {
			c.fail(fmt.Errorf("send records: %w", err))
		}
	}
	c.sending = false
}

// fail reports an error, unless it comes from closing. mu is held.
func (c *client) fail(err error) {
	if !c.closed {
		c.closed = true
		c.sink.Failed(err)
	}
}

// hear passes acknowledgements on until next fails.
func (c *client) hear(next func() (uint64, error)) {
	var known uint64
	var batch []*load.Record
	for {
		records, err := next()
		c.mu.Lock()
		n := records - known
		if err == nil && n > uint64(len(c.waiting)) {
			err = errors.New("the server acknowledged records that were not sent to it")
		}
		if err != nil {
			c.fail(err)
			c.mu.Unlock()
			return
		}
		batch = append(batch[:0], c.waiting[:n]...)
		c.waiting = c.waiting[n:]
		c.mu.Unlock()
		known = records
		c.sink.Acked(batch)
	}
}

// Close implements load.Client.
func (c *client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	err := c.hangUp()
	c.running.Wait()
	return err
}
