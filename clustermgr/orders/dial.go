package orders

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Timeouts bound the calls to nodes.
type Timeouts struct {
	Probe   time.Duration // a question, and making a connection
	Call    time.Duration // an order that takes a few disk writes
	Appoint time.Duration // until an appointed node leads
}

// Nodes keeps one connection per address of a storage node. It may be used
// concurrently. Calls fail at once while an address cannot be reached.
type Nodes struct {
	timeouts Timeouts
	dial     []grpc.DialOption
	mu       sync.Mutex
	closed   bool // calls that come later, of callers who do not know of the end, find no connection
	conns    map[string]*grpc.ClientConn
	// inquiries gather, by address; see Collect.
	inquiries map[string]*inquiry
}

// New makes the set of connections, empty. The options add to those of each
// connection, for credentials.
func New(timeouts Timeouts, dial ...grpc.DialOption) *Nodes {
	return &Nodes{timeouts: timeouts, dial: dial, conns: map[string]*grpc.ClientConn{}, inquiries: map[string]*inquiry{}}
}

func (n *Nodes) client(address string) (wirepb.NodeClient, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, fmt.Errorf("node at %s: %w", address, pinetree.ErrStopped)
	}
	if conn := n.conns[address]; conn != nil {
		return wirepb.NewNodeClient(conn), nil
	}
	conn, err := grpc.NewClient("passthrough:///"+address, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: n.timeouts.Probe,
		}),
		grpc.WithUnaryInterceptor(wirepb.UnaryClientErrors),
	}, n.dial...)...)
	if err != nil {
		return nil, err
	}
	n.conns[address] = conn
	return wirepb.NewNodeClient(conn), nil
}

// Fresh lets the next call to an address connect without waiting for the end
// of a backoff, for a node that was just heard of. It replaces the connection:
// gRPC's ResetConnectBackoff reads a map that gRPC writes to meanwhile.
func (n *Nodes) Fresh(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if conn := n.conns[address]; conn != nil && conn.GetState() == connectivity.TransientFailure {
		_ = conn.Close() // it had failed, and no call on it could succeed
		delete(n.conns, address)
	}
}

// Close closes all connections. Calls under way fail, and so do later ones.
func (n *Nodes) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for address, conn := range n.conns {
		_ = conn.Close() // it reports only that it was closed before
		delete(n.conns, address)
	}
}

// Probe asks a node for a sign of life: its state, or that its address refuses
// connections, so that its process is surely gone; neither when it is silent.
func (n *Nodes) Probe(ctx context.Context, address string) (state *wirepb.StatusResponse, refused bool) {
	ctx, cancel := context.WithTimeout(ctx, n.timeouts.Probe)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, errors.Is(err, syscall.ECONNREFUSED)
	}
	_ = conn.Close() // nothing was sent
	n.Fresh(address)
	client, err := n.client(address)
	if err != nil {
		return nil, false
	}
	state, err = client.Status(ctx, &wirepb.StatusRequest{})
	if err != nil {
		return nil, false
	}
	return state, false
}
