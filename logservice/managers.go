package logservice

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

const (
	// registerTimeout bounds the registration with one manager, the making of
	// the connection included, and silentTimeout that with one that was silent before,
	// at first: the others may know a new one any moment.
	registerTimeout, silentTimeout = 2 * time.Second, 250 * time.Millisecond
	// firstPause and maxPause are the waits between managers that do not serve
	// this node.
	firstPause, maxPause = 50 * time.Millisecond, 500 * time.Millisecond
)

// managers is the list of the cluster's manager processes, and where to try
// next. It belongs to one goroutine.
type managers struct {
	addresses []string
	dial      []grpc.DialOption
	next      int
	hint      string // the active one, as another said; tried once
	pause     time.Duration
	// silent is one that let the node wait, waited how often it did so again, and
	// passed how often it was passed over for that.
	silent         string
	waited, passed int
}

// errSilent is the end of a stream on which a manager answered nothing.
var errSilent = errors.New("the manager answers nothing")

// maxPassed is how often a silent manager is passed over: to ask it again costs time.
const maxPassed = 3

// address is the one to try now.
func (m *managers) address() string {
	if m.hint != "" {
		return m.hint
	}
	return m.addresses[m.next%len(m.addresses)]
}

// bound is for how long the current one is waited for. One that was silent is given
// twice as long each time, so that one that is only slow gets what it needs.
func (m *managers) bound() time.Duration {
	if m.address() != m.silent || len(m.addresses) == 1 {
		return registerTimeout
	}
	return min(silentTimeout<<min(m.waited, 10), registerTimeout)
}

// served notes that the current one is of use.
func (m *managers) served() { m.pause = 0 }

// failed chooses whom to try after an error, and returns how long to wait
// before.
func (m *managers) failed(err error) time.Duration {
	tried := m.address()
	m.hint = ""
	switch refusal, ok := errors.AsType[*pinetree.NotLeaderError](err); {
	case ok && refusal.Addr != "" && refusal.Addr != tried && refusal.Addr != m.silent:
		m.hint = refusal.Addr
		return 0
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errSilent):
		if m.waited++; tried != m.silent {
			m.silent, m.waited = tried, 0
		}
		m.passed = 0
	case tried == m.silent:
		m.silent = "" // it says something
	}
	m.next++
	if m.address() == m.silent && m.passed < maxPassed {
		m.passed++
		m.next++
	}
	m.pause = min(max(2*m.pause, firstPause), maxPause)
	return m.pause
}

// connect makes a connection to the current one. The caller closes it.
func (m *managers) connect() (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithChainUnaryInterceptor(wirepb.UnaryClientErrors),
		grpc.WithChainStreamInterceptor(wirepb.StreamClientErrors),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
	}
	return grpc.NewClient("passthrough:///"+m.address(), append(options, m.dial...)...)
}

// refused tells that the cluster does not know this directory, or knows it as
// somebody else's: no other manager and no wait will help.
func refused(err error) bool {
	return errors.Is(err, pinetree.ErrExists) || errors.Is(err, pinetree.ErrNotFound) || errors.Is(err, pinetree.ErrBadBatch)
}

// register makes the node known to the current manager, which gives a new one its id.
func (m *managers) register(ctx context.Context, conn *grpc.ClientConn, q *wirepb.RegisterRequest) (*wirepb.RegisterResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, m.bound())
	defer cancel()
	r, err := wirepb.NewManagerClient(conn).Register(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("register with the cluster manager: %w", err)
	}
	return r, nil
}

// registerNew registers a new directory, with whichever manager is active,
// until it succeeds, is refused, or ctx ends.
func (n *Node) registerNew(ctx context.Context, instance string) (Identity, error) {
	m := n.newManagers()
	for {
		r, err := m.registerOnce(ctx, &wirepb.RegisterRequest{Instance: instance, Address: n.cfg.Advertise, Zone: n.cfg.Zone})
		switch {
		case err == nil && (r.Node == 0 || r.Cluster == ""):
			return Identity{}, fmt.Errorf("the manager at %s gave this node no id; do both run the same version?", m.address())
		case err == nil:
			return Identity{Cluster: r.Cluster, Node: pinetree.NodeID(r.Node), Instance: instance}, nil
		case refused(err):
			return Identity{}, err
		}
		n.log.Warn("this new node has no id yet: no cluster manager gives it one", "manager", m.address(), "err", err)
		select {
		case <-time.After(m.failed(err)):
		case <-ctx.Done():
			return Identity{}, fmt.Errorf("this directory is new and needs a cluster manager to give it an id; tried %v: %w; the last one said: %w", n.cfg.Managers, ctx.Err(), err)
		}
	}
}

func (m *managers) registerOnce(ctx context.Context, q *wirepb.RegisterRequest) (*wirepb.RegisterResponse, error) {
	conn, err := m.connect()
	if err != nil {
		return nil, err
	}
	r, err := m.register(ctx, conn, q)
	return r, errors.Join(err, conn.Close())
}
