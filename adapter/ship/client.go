package ship

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/asking"
	"github.com/pinetree-db/pinetree/adapter/ferry"
	"github.com/pinetree-db/pinetree/adapter/picker"
)

// Client knows one volume: where its replicas are, who leads, and the
// connections to them. Any number of goroutines may use it and the Writers and
// Readers made from it.
type Client struct {
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	// writers counts the goroutines of the Writers that are open, tasks those that
	// ask for routes beside reads, and those that make several reads in one call.
	// The latter two begin under mu, not after Close.
	writers, tasks sync.WaitGroup

	// conns are the client's own unless its Config names some.
	conns *Connections

	mu    sync.Mutex
	route Route
	// suspect: the route was of no use when it was last tried.
	suspect  bool
	askAgain time.Time // when managers that did not answer may be asked again
	doubted  time.Time // when a late call last had the managers asked
	stale    time.Time // when reads are to have the route asked for again
	picker   *picker.Picker
	hedger   *picker.Hedger

	ferry *ferry.Ferry[ReadConfig, onePage, PageRead]
}

// Dial asks the managers for the volume and returns a client of it. The context
// bounds the call only. Without an answer it goes by the RouteFile, if there is
// one. Reports pinetree.ErrUnknownVolume when there is no such volume.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, conns: cfg.Connections, picker: picker.New(rand.IntN), hedger: picker.NewHedger(cfg.Hedge)}
	if c.conns == nil {
		c.conns = new(Connections)
	}
	c.ferry = c.newFerry()
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	if err := c.retry(ctx, "route of volume "+cfg.Volume, c.refresh); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the client, its Writers and all calls on it, and waits for the
// Writers' goroutines.
func (c *Client) Close() error {
	c.mu.Lock() // whoever began a task before has counted it
	c.cancel(fmt.Errorf("%w: the client of volume %s was closed", pinetree.ErrStopped, c.cfg.Volume))
	c.mu.Unlock()
	c.tasks.Wait()
	c.writers.Wait()
	if c.cfg.Connections != nil {
		return nil
	}
	return c.conns.Close()
}

// Volume is the volume's id.
func (c *Client) Volume() pinetree.VolumeID { return c.Route().Volume }

// Route is what the client knows at the moment.
func (c *Client) Route() Route {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.route
}

// Refresh asks the managers for the route and returns it, or the last one when
// none answers. The context bounds the call. Reports pinetree.ErrUnknownVolume
// when the volume is gone.
func (c *Client) Refresh(ctx context.Context) (Route, error) {
	ctx, done := c.within(ctx)
	defer done()
	if err := c.refresh(ctx); err != nil {
		return Route{}, err
	}
	return c.Route(), nil
}

// conn gives the connection to an address, which is made when it is first used.
func (c *Client) conn(addr string) (*asking.Conn, error) {
	if c.ctx.Err() != nil {
		return nil, context.Cause(c.ctx)
	}
	return c.conns.to(addr, c.cfg.dialOptions)
}

// within returns a context that also ends when the client is closed.
func (c *Client) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(context.Cause(c.ctx)) })
	return ctx, func() { stop(); cancel(nil) }
}
