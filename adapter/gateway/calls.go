package gateway

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// calls is the wirepb.MetaClient that the generated handlers call: each call goes
// to the volume that the request's path names.
type calls struct{ gateway *Gateway }

var levels = map[wirepb.ReadLevel]pinetree.ReadLevel{
	wirepb.ReadLevel_DEFAULT:    pinetree.ReadDefault,
	wirepb.ReadLevel_STALE:      pinetree.ReadStale,
	wirepb.ReadLevel_CONSISTENT: pinetree.ReadConsistent,
}

// reading is how a request wants to be read.
func reading(o *wirepb.ReadOptions) (ship.ReadConfig, error) {
	level, known := levels[o.GetLevel()]
	if !known {
		return ship.ReadConfig{}, fmt.Errorf("%w: read level %d; known are DEFAULT, STALE and CONSISTENT", pinetree.ErrBadBatch, o.GetLevel())
	}
	return ship.ReadConfig{Level: level, MinLSN: pinetree.LSN(o.GetMinLsn()), MaxStaleness: time.Duration(o.GetMaxStaleMs()) * time.Millisecond}, nil
}

// MetaRange implements wirepb.MetaClient.
func (c calls) MetaRange(ctx context.Context, q *wirepb.MetaRangeRequest, _ ...grpc.CallOption) (*wirepb.MetaRangeResponse, error) {
	v, err := volumeOf(ctx)
	if err != nil {
		return nil, err
	}
	cfg, err := reading(q.Options)
	if err != nil {
		return nil, err
	}
	answer, err := v.calls.MetaRange(ctx, cfg, q)
	return answer, c.gateway.volumes.heard(v, err)
}

// MetaTxn implements wirepb.MetaClient.
func (c calls) MetaTxn(ctx context.Context, q *wirepb.MetaTxnRequest, _ ...grpc.CallOption) (*wirepb.MetaTxnResponse, error) {
	v, err := volumeOf(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := v.calls.MetaTxn(ctx, q)
	return answer, c.gateway.volumes.heard(v, err)
}

// MetaCompact implements wirepb.MetaClient.
func (c calls) MetaCompact(ctx context.Context, q *wirepb.MetaCompactRequest, _ ...grpc.CallOption) (*wirepb.MetaCompactResponse, error) {
	v, err := volumeOf(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := v.calls.MetaCompact(ctx, q)
	return answer, c.gateway.volumes.heard(v, err)
}

// MetaWatch implements wirepb.MetaClient. It returns with the first answer, so that
// what is refused is an error of the call and not of a stream that has begun. The
// stream ends with ctx, which is that of the HTTP request.
func (c calls) MetaWatch(ctx context.Context, q *wirepb.MetaWatchRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[wirepb.MetaWatchResponse], error) {
	v, err := volumeOf(ctx)
	if err != nil {
		return nil, err
	}
	enter, done := c.gateway.watching()
	if !enter {
		return nil, fmt.Errorf("%w: this gateway serves %d watches, its limit; watch at another node or end some", pinetree.ErrQueueFull, c.gateway.cfg.MaxWatches)
	}
	s := &stream{ctx: ctx, answers: make(chan *wirepb.MetaWatchResponse), ended: make(chan struct{})}
	c.gateway.running.Go(func() {
		defer done()
		defer close(s.ended)
		s.err = c.gateway.volumes.heard(v, v.calls.MetaWatch(ctx, ship.ReadConfig{}, q, s.put))
	})
	if s.first, err = s.next(); err != nil {
		return nil, err
	}
	return s, nil
}

// watching takes one of the places for watches, if there is one.
func (g *Gateway) watching() (bool, func()) {
	select {
	case g.watches <- struct{}{}:
		return true, func() { <-g.watches }
	default:
		return false, nil
	}
}

// stream is a watch as the generated handlers take it. Nothing is buffered: the
// watch waits for the HTTP client.
type stream struct {
	grpc.ClientStream // none: what is not below is not called
	ctx               context.Context
	answers           chan *wirepb.MetaWatchResponse
	ended             chan struct{} // closed when err is set
	err               error
	first             *wirepb.MetaWatchResponse
}

// put hands an answer over.
func (s *stream) put(r *wirepb.MetaWatchResponse) error {
	select {
	case s.answers <- r:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *stream) next() (*wirepb.MetaWatchResponse, error) {
	select {
	case r := <-s.answers:
		return r, nil
	case <-s.ended:
		return nil, s.err
	}
}

// Recv implements grpc.ServerStreamingClient.
func (s *stream) Recv() (*wirepb.MetaWatchResponse, error) {
	if r := s.first; r != nil {
		s.first = nil
		return r, nil
	}
	return s.next()
}

// Header implements grpc.ClientStream.
func (s *stream) Header() (metadata.MD, error) { return nil, nil }

// Trailer implements grpc.ClientStream.
func (s *stream) Trailer() metadata.MD { return nil }
