package ship

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/asking"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// The calls of services other than Compute and Reads, whose clients are packages
// of their own and find their nodes as this one does.

// OnLeader makes a call to the volume's leader, wherever that is, again and again
// until it is answered, the answer is one that trying again would not change, the
// client's RetryFor is over, or ctx ends. An attempt whose outcome is unknown is
// repeated, too, so the call must bear that. Each attempt is bounded by the
// client's AttemptTimeout; what names the call in errors.
func (c *Client) OnLeader(ctx context.Context, what string, call func(context.Context, *grpc.ClientConn) error) error {
	var refused error // for good, though other calls would wait for it to pass
	err := c.retry(ctx, what, func(ctx context.Context) error {
		err := c.onLeader(ctx, func(ctx context.Context, at Replica, conn *asking.Conn) error {
			return c.unlessReplaced(ctx, at, c.cfg.AttemptTimeout, func(ctx context.Context) error { return call(ctx, conn.ClientConn) })
		})
		if refused = nil; errors.Is(err, pinetree.ErrOverQuota) {
			refused, err = err, nil
		}
		return err
	})
	if refused != nil {
		return fmt.Errorf("%s: %w", what, refused)
	}
	return err
}

// Ask makes a read of any service of the nodes as the methods of Reader do: of
// the leader or of a replica, as the Reader's level asks. The request carries
// Reader.Options.
func Ask[A answered](ctx context.Context, r *Reader, what string, call func(context.Context, *grpc.ClientConn) (A, error)) (A, error) {
	return askNode(ctx, r, question{what: what, limit: r.limit()}, func(ctx context.Context, conn *asking.Conn) (A, error) { return call(ctx, conn.ClientConn) })
}

// Options are what the Reader asks of each read, as it goes over the wire.
func (r *Reader) Options() *wirepb.ReadOptions { return r.options() }

// ServedBy is how a read was answered, from its form on the wire.
func ServedBy(s *wirepb.Served) Served { return served(s) }

// Stream is one attempt of Follow.
type Stream struct {
	At   Replica
	Conn *grpc.ClientConn
	// Alive says that the replica serves: RetryFor begins anew.
	Alive func()
}

// Follow keeps a stream going: it has read called with one replica after the
// other, in the order in which the Reader asks them, until read returns nil or an
// error that no other replica would change, or no replica was alive for the
// client's RetryFor, or ctx ends. What names the stream in errors.
func (r *Reader) Follow(ctx context.Context, what func() string, read func(context.Context, Stream) error) error {
	ctx, done := r.client.within(ctx)
	defer done()
	alive, delay := time.Now(), newDelay()
	for {
		began := alive
		r.client.keepFresh()
		err := r.round(ctx, func(ctx context.Context, at Replica, conn *asking.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			return read(ctx, Stream{At: at, Conn: conn.ClientConn, Alive: func() { alive = time.Now() }})
		})
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", what(), context.Cause(ctx))
		case settled(err):
			return fmt.Errorf("%s: %w", what(), err)
		case time.Since(alive) > r.client.cfg.RetryFor:
			return fmt.Errorf("%s: gave up after %s without progress: %w", what(), r.client.cfg.RetryFor, err)
		}
		if alive != began {
			delay.Reset()
		}
		r.client.redirected(err)
		select {
		case <-ctx.Done():
		case <-time.After(delay.NextBackOff()):
		}
	}
}
