package asking

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

const (
	// maxLines bounds the streams that a Conn keeps. Each costs the node two goroutines.
	maxLines = 4
	// unableFor is how long a node that does not know Ask, or has all the streams that
	// it can have, gets calls. It may be of another build then, or have some to spare.
	unableFor = time.Minute
)

// Conn is a connection to a node that makes the calls of pages and keys as questions
// on streams that it keeps, one at a time on each. What finds no stream free, and
// whatever else, is a call of the connection. The answer is the same either way, and
// so are the errors; interceptors and credentials of the connection see the streams,
// not the questions. Any number of goroutines may use it. Its streams end with the
// connection.
type Conn struct {
	*grpc.ClientConn

	mu     sync.Mutex
	idle   []*line
	lines  int       // that are idle or asked on
	unable time.Time // until then the node is taken to have no stream to give
}

// line is one stream. Who has taken it owns it.
type line struct {
	ctx    context.Context
	end    context.CancelFunc
	stream wirepb.Reads_AskClient // nil until the first question
}

// Invoke implements grpc.ClientConnInterface.
func (c *Conn) Invoke(ctx context.Context, method string, request, response any, options ...grpc.CallOption) error {
	if q := questionOf(request); q != nil {
		if l := c.take(); l != nil {
			if answered, err := c.ask(ctx, l, q, response); answered {
				return err
			}
		}
	}
	return c.ClientConn.Invoke(ctx, method, request, response, options...)
}

// take gives a stream that nobody asks on, a new one if need be; nil when there are
// enough.
func (c *Conn) take() *line {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.idle); n > 0 {
		l := c.idle[n-1] // the one that was used last, which is warm
		c.idle[n-1] = nil
		c.idle = c.idle[:n-1]
		return l
	}
	if c.lines == maxLines || time.Now().Before(c.unable) {
		return nil
	}
	c.lines++
	l := &line{}
	l.ctx, l.end = context.WithCancel(context.Background())
	return l
}

// ask asks on a stream and gives it back. It reports false when the stream broke:
// that tells nothing of the node, which may have been started anew since the last
// question, and a read may be made twice. A stream whose answer was not waited for
// is not used again.
func (c *Conn) ask(ctx context.Context, l *line, q *wirepb.Question, response any) (answered bool, err error) {
	if end, bounded := ctx.Deadline(); bounded {
		q.TimeoutUs = uint64(max(time.Until(end).Microseconds(), 1))
	}
	keep := context.AfterFunc(ctx, l.end)
	a, broke := c.roundTrip(l, q)
	if keep() && broke == nil {
		c.give(l)
	} else {
		c.drop(l, broke)
	}
	switch {
	case broke == nil:
		return true, fill(response, a)
	case ctx.Err() != nil:
		return true, wirepb.FromError(status.FromContextError(ctx.Err()).Err())
	}
	return false, nil
}

func (c *Conn) roundTrip(l *line, q *wirepb.Question) (*wirepb.Answer, error) {
	if l.stream == nil {
		stream, err := wirepb.NewReadsClient(c.ClientConn).Ask(l.ctx, wirepb.StreamOptions()...)
		if err != nil {
			return nil, err
		}
		l.stream = stream
	}
	if err := l.stream.Send(q); err != nil {
		_, err = l.stream.Recv() // why it ended
		return nil, err
	}
	return l.stream.Recv()
}

// give has a stream asked on again.
func (c *Conn) give(l *line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = append(c.idle, l)
}

// drop ends a stream.
func (c *Conn) drop(l *line, why error) {
	l.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines--
	if status.Code(why) == codes.Unimplemented || errors.Is(why, pinetree.ErrQueueFull) {
		c.unable = time.Now().Add(unableFor)
	}
}
