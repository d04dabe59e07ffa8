package ship

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// settled reports an answer that asking again, here or elsewhere, would not
// change.
func settled(err error) bool {
	for _, final := range []error{
		pinetree.ErrStaleComputeTerm, pinetree.ErrBadBatch, pinetree.ErrTruncated,
		pinetree.ErrNotFound, pinetree.ErrExists, pinetree.ErrCorrupt, errNoSuchVolume,
	} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

// Elsewhere reports an error of one node that another node may not have.
func Elsewhere(err error) bool {
	for _, local := range []error{
		pinetree.ErrNotLeader, pinetree.ErrStopped, pinetree.ErrNoLease, pinetree.ErrUnknownVolume, pinetree.ErrUnknownGroup,
		context.DeadlineExceeded, context.Canceled,
	} {
		if errors.Is(err, local) {
			return true
		}
	}
	return wirepb.Unreachable(err)
}

func newDelay() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: firstDelay, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: maxDelay}
}

// delays are the waits of a Writer before it tries again.
type delays struct {
	backoff  *backoff.ExponentialBackOff
	followed bool // the last try was where an error had said that the leader is
}

// reset is called when something was acknowledged.
func (d *delays) reset() {
	d.backoff.Reset()
	d.followed = false
}

// next is the wait after a try that failed. When its error said where to go on,
// there is none; two nodes that name each other get no more than this.
func (d *delays) next(redirected bool) time.Duration {
	wait := d.backoff.NextBackOff()
	if d.followed = redirected && !d.followed; d.followed {
		return 0
	}
	return wait
}

// retry runs op until it succeeds, its error is settled, the client's RetryFor
// is over, or the context or the client ends. The error names what was tried
// and why the last attempt failed.
func (c *Client) retry(ctx context.Context, what string, op func(context.Context) error) error {
	ctx, done := c.within(ctx)
	defer done()
	began := time.Now()
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := op(ctx)
		if err == nil || ctx.Err() == nil {
			last = err
		}
		if err != nil && settled(err) {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(newDelay()), backoff.WithMaxElapsedTime(c.cfg.RetryFor))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && last != nil && !settled(last):
		return fmt.Errorf("%s: %w; before that: %w", what, context.Cause(ctx), last)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	case settled(err):
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: gave up after %s: %w", what, time.Since(began).Round(time.Millisecond), err)
}
