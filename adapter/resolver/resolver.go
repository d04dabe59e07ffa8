package resolver

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/balancer"
	grpcresolver "google.golang.org/grpc/resolver"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
)

// Scheme is that of the names, and the name of the balancer.
const Scheme = "pinetree"

const (
	// again is how often the managers are asked while nothing goes wrong, and
	// pause the least time between two asks, whoever wants them.
	again, pause = 15 * time.Second, 100 * time.Millisecond
	// retry is the pause after managers that did not answer.
	retry = time.Second
	// patience is how long the first route is waited for before the connection is
	// told that there is none yet.
	patience = 2 * time.Second
)

// serviceConfig sends the calls that may be sent twice elsewhere when a replica
// does not lead or does not serve. Aborted is the code of NotLeader alone, and
// of a call with it nothing was done.
const serviceConfig = `{
	"loadBalancingConfig": [{"pinetree": {}}],
	"methodConfig": [
		{"name": [{"service": "pinetree.wire.v1.Reads"}, {"service": "pinetree.wire.v1.Compute", "method": "Resolve"}],
		 "retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.02s", "maxBackoff": "1s", "backoffMultiplier": 4,
		                 "retryableStatusCodes": ["ABORTED", "UNAVAILABLE"]}},
		{"name": [{"service": "pinetree.wire.v1.Compute", "method": "Open"}],
		 "retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.02s", "maxBackoff": "1s", "backoffMultiplier": 4,
		                 "retryableStatusCodes": ["ABORTED"]}}
	]
}`

func init() {
	grpcresolver.Register(builder{})
	balancer.Register(balancerBuilder{})
}

// builder makes the resolver of a connection.
type builder struct{}

// Scheme implements resolver.Builder.
func (builder) Scheme() string { return Scheme }

// Build implements resolver.Builder.
func (builder) Build(name grpcresolver.Target, cc grpcresolver.ClientConn, options grpcresolver.BuildOptions) (grpcresolver.Resolver, error) {
	t, err := parse(name.URL)
	if err != nil {
		return nil, err
	}
	w := &watcher{target: t, conn: cc, wake: make(chan struct{}, 1)}
	w.cfg = ship.Config{Managers: t.managers, Volume: t.volume, Zone: t.zone, RetryFor: patience}
	if options.DialCreds != nil {
		w.cfg.Dial = append(w.cfg.Dial, grpc.WithTransportCredentials(options.DialCreds))
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.running.Go(func() { w.run(ctx) })
	return w, nil
}

// watcher keeps one connection told of where its volume is. Its goroutine ends
// with Close, which waits for it.
type watcher struct {
	target  target
	conn    grpcresolver.ClientConn
	cfg     ship.Config
	client  *ship.Client // the goroutine's; nil before the first route
	wake    chan struct{}
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// ResolveNow implements resolver.Resolver. It never blocks.
func (w *watcher) ResolveNow(grpcresolver.ResolveNowOptions) {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Close implements resolver.Resolver.
func (w *watcher) Close() {
	w.cancel()
	w.running.Wait()
}

func (w *watcher) run(ctx context.Context) {
	defer func() {
		if w.client != nil {
			_ = w.client.Close()
		}
	}()
	for ctx.Err() == nil {
		wait := again
		route, err := w.locate(ctx)
		if err == nil {
			err = w.conn.UpdateState(w.state(route))
		} else if ctx.Err() == nil {
			w.conn.ReportError(err)
		}
		if err != nil {
			wait = retry
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(wait):
		case <-w.wake:
		case <-ctx.Done():
		}
	}
}

// locate asks the managers. Without an answer the last route stays. A volume that is
// gone is forgotten: its name may be another's by now.
func (w *watcher) locate(ctx context.Context) (ship.Route, error) {
	if w.client != nil {
		route, err := w.client.Refresh(ctx)
		if errors.Is(err, pinetree.ErrUnknownVolume) {
			_ = w.client.Close() // it has no writers
			w.client = nil
		}
		return route, err
	}
	client, err := ship.Dial(ctx, w.cfg)
	if err != nil {
		return ship.Route{}, err
	}
	w.client = client
	return client.Route(), nil
}

// attribute names what an address is told of its replica.
type attribute string

// Attributes of each endpoint, for balancers of others: the node's id, its zone,
// and whether it leads.
const (
	NodeAttribute   attribute = "pinetree node"
	ZoneAttribute   attribute = "pinetree zone"
	LeaderAttribute attribute = "pinetree leader"
)

// routeAttribute is what the balancer of this package is told.
const routeAttribute attribute = "pinetree route"

// known is a route as the balancer gets it.
type known struct {
	target target
	route  ship.Route
}

func (w *watcher) state(route ship.Route) grpcresolver.State {
	s := grpcresolver.State{
		ServiceConfig: w.conn.ParseServiceConfig(serviceConfig),
		Attributes:    attributes.New(routeAttribute, &known{w.target, route}),
	}
	for _, r := range route.Replicas {
		a := grpcresolver.Address{Addr: r.Addr}
		if host, _, err := net.SplitHostPort(r.Addr); err == nil {
			a.ServerName = host // by which its certificate is checked
		}
		s.Addresses = append(s.Addresses, a)
		s.Endpoints = append(s.Endpoints, grpcresolver.Endpoint{
			Addresses:  []grpcresolver.Address{a},
			Attributes: attributes.New(NodeAttribute, r.Node).WithValue(ZoneAttribute, r.Zone).WithValue(LeaderAttribute, r.Node == route.Leader),
		})
	}
	return s
}
