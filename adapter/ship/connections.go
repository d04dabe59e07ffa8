package ship

import (
	"fmt"
	"sync"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/asking"
)

// Connections are shared by the Clients that name them in their Config, so
// that a process with many volumes has one connection to each node: what many
// writers send at the same moment then leaves in one write. All of these
// Clients must have the same options of connections. The zero value is ready;
// any number of goroutines may use it.
type Connections struct {
	mu     sync.Mutex
	byAddr map[string]*asking.Conn
	closed bool
}

// Close closes all connections. Clients that still use them can make no call
// any more; close them before.
func (c *Connections) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	var first error
	for _, conn := range c.byAddr {
		if err := conn.Close(); err != nil && first == nil {
			first = err
		}
	}
	c.byAddr = nil
	return first
}

// to gives the connection to an address, which is made when it is first used.
func (c *Connections) to(addr string, options func() []grpc.DialOption) (*asking.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("%w: the connections were closed before their clients", pinetree.ErrStopped)
	}
	if conn, known := c.byAddr[addr]; known {
		return conn, nil
	}
	made, err := grpc.NewClient("passthrough:///"+addr, options()...)
	if err != nil {
		return nil, fmt.Errorf("%w: address %q: %w", pinetree.ErrBadBatch, addr, err)
	}
	conn := &asking.Conn{ClientConn: made}
	if c.byAddr == nil {
		c.byAddr = map[string]*asking.Conn{}
	}
	c.byAddr[addr] = conn
	return conn, nil
}
