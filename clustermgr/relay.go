package clustermgr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/reign"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

const (
	// relayed is the metadata of a call that comes from another manager, with
	// that one's address. It is answered or refused, never sent on: two managers
	// that believe in each other would send it to and fro.
	relayed = "pinetree-relayed-by"
	// maxRelayed bounds the calls that are sent on at once.
	maxRelayed = 1024
	// relayPause is the wait before the same manager is asked again.
	relayPause = 50 * time.Millisecond
)

// relay sends what the active manager must answer on to it, over one connection
// that is kept. Any number of goroutines may use it.
type relay struct {
	cfg   Config
	slots chan struct{}

	mu     sync.Mutex
	active string        // as the store said last; empty when there is none
	news   chan struct{} // closed and replaced when active or the reign changes
	conn   *grpc.ClientConn
	to     string // whom conn reaches
}

func newRelay(cfg Config) *relay {
	return &relay{cfg: cfg, slots: make(chan struct{}, maxRelayed), news: make(chan struct{})}
}

// watch keeps itself told of who is active until ctx ends. When the store does
// not answer, the last one is believed to be.
func (r *relay) watch(ctx context.Context) {
	for ctx.Err() == nil {
		if err := r.cfg.Store.Watch(ctx, r.told); err != nil && ctx.Err() == nil {
			r.cfg.Log.Warn("the store does not tell who the active manager is; going by what it said last", "err", err)
		}
		select {
		case <-time.After(r.cfg.Retry):
		case <-ctx.Done():
		}
	}
}

func (r *relay) told(active string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active = active
	r.tell()
}

// changed wakes those who wait for an active manager.
func (r *relay) changed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell()
}

func (r *relay) tell() {
	close(r.news)
	r.news = make(chan struct{})
}

// now is who is active, and what is closed when that may have changed.
func (r *relay) now() (active string, news <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.active, r.news
}

// connection gives the connection to a manager. That to another one is closed:
// its calls can only fail.
func (r *relay) connection(address string) (*grpc.ClientConn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil && r.to == address {
		return r.conn, nil
	}
	conn, err := grpc.NewClient("passthrough:///"+address, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: relayPause, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: r.cfg.Probe,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 2 * time.Second}),
		grpc.WithUnaryInterceptor(wirepb.UnaryClientErrors), grpc.WithStreamInterceptor(wirepb.StreamClientErrors),
	}, r.cfg.Dial...)...)
	if err != nil {
		return nil, err
	}
	if r.conn != nil {
		_ = r.conn.Close() // it reports only that it was closed before
	}
	r.conn, r.to = conn, address
	return conn, nil
}

func (r *relay) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil {
		_ = r.conn.Close() // it reports only that it was closed before
		r.conn = nil
	}
}

// errNotSent is why a call did not reach the active manager, so that it may be
// tried again whatever it orders.
type errNotSent struct{ cause error }

func (e errNotSent) Error() string { return e.cause.Error() }
func (e errNotSent) Unwrap() error { return e.cause }

// send makes one attempt at a call, over a connection that is known to be there.
func (r *relay) send(ctx context.Context, address string, call func(context.Context, *grpc.ClientConn) error) error {
	conn, err := r.connection(address)
	if err != nil {
		return errNotSent{err}
	}
	connecting, cancel := context.WithTimeout(ctx, 2*r.cfg.Probe)
	defer cancel()
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if state == connectivity.TransientFailure || state == connectivity.Shutdown || !conn.WaitForStateChange(connecting, state) {
			return errNotSent{fmt.Errorf("the active cluster manager at %s does not answer", address)}
		}
	}
	err = call(metadata.AppendToOutgoingContext(ctx, relayed, r.cfg.Address), conn)
	if status.Code(err) == codes.Canceled && ctx.Err() == nil {
		err = status.Errorf(codes.Unavailable, "the active cluster manager at %s was replaced in the middle of this, which may have been done or not", address)
	}
	if elsewhere(err) {
		return errNotSent{err}
	}
	return err
}

// elsewhere tells that a manager which is not the active one has refused a call,
// before it did anything for it.
func elsewhere(err error) bool {
	_, refused := errors.AsType[*pinetree.NotLeaderError](err)
	return refused
}

// loops tells whether a call was sent on by another manager.
func loops(ctx context.Context) bool {
	return len(metadata.ValueFromIncomingContext(ctx, relayed)) > 0
}

// asks tells whether a call changes nothing, so that one with an unknown outcome
// may be made again.
func asks(method string) bool {
	name := method[strings.LastIndexByte(method, '/')+1:]
	return strings.HasPrefix(name, "List") || name == "Route" || name == "SafeToStop"
}

// notBegun tells that nothing was done for a call that ended with an error.
func notBegun(err error) bool {
	_, unsent := errors.AsType[errNotSent](err)
	return unsent || elsewhere(err)
}

// attempt is how a call is made: here, while this manager is the active one, or
// there, on the connection to the one that is; and after which errors again.
type attempt struct {
	here  func(*reign.Reign) error
	there func(context.Context, *grpc.ClientConn) error
	again func(error) bool
}

// answer makes a call. While no manager is active it waits, as long as the caller
// does but not longer than Config.AwaitActive.
func (m *Manager) answer(ctx context.Context, a attempt) error {
	waiting, cancel := context.WithTimeout(ctx, m.cfg.AwaitActive)
	defer cancel()
	var last error
	for {
		active, news := m.relay.now()
		r := m.reign.Load()
		switch {
		case r != nil:
			if last = a.here(r); last == nil || !a.again(last) {
				return last
			}
		case active == m.cfg.Address: // about to take office
		case loops(ctx) && active != "":
			return reign.NotActive(active)
		case active != "":
			select {
			case m.relay.slots <- struct{}{}:
			default:
				return fmt.Errorf("%w: %d calls are on their way to the active cluster manager at %s; try again", pinetree.ErrQueueFull, maxRelayed, active)
			}
			last = m.relay.send(ctx, active, a.there)
			<-m.relay.slots
			if last == nil || !a.again(last) {
				return last
			}
		}
		select {
		case <-news:
		case <-after(last != nil):
		case <-waiting.Done():
			if err := ctx.Err(); err != nil { // the caller's own time is over
				return status.FromContextError(err).Err()
			}
			return nobody(waiting, m.cfg.AwaitActive, last)
		}
	}
}

// after is a short wait, or one without end.
func after(wanted bool) <-chan time.Time {
	if wanted {
		return time.After(relayPause)
	}
	return nil
}

// nobody says that there was no active manager for as long as was waited.
func nobody(waiting context.Context, bound time.Duration, last error) error {
	words := "no cluster manager has taken office"
	if last != nil {
		words = last.Error()
	}
	if !errors.Is(waiting.Err(), context.DeadlineExceeded) {
		return waiting.Err()
	}
	return status.Errorf(codes.Unavailable, "no active cluster manager within %v: %s; writes, consistent and stale reads go on without one: "+
		"see whether etcd has a majority of its members and whether another manager runs", bound, words)
}

// relayStream has the active manager make a stream of answers, and passes them on.
func relayStream[Q, A any](ctx context.Context, conn *grpc.ClientConn, method string, q *Q, answers grpc.ServerStreamingServer[A]) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opened, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return err
	}
	if err := opened.SendMsg(q); err != nil && !errors.Is(err, io.EOF) { // EOF: receiving gives the reason
		return err
	}
	if err := opened.CloseSend(); err != nil {
		return err
	}
	for {
		a := new(A)
		if err := opened.RecvMsg(a); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := answers.Send(a); err != nil {
			return err
		}
	}
}
