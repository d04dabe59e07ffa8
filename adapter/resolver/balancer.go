package resolver

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	grpcresolver "google.golang.org/grpc/resolver"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/picker"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// balancerBuilder makes the balancer of a connection: grpc-go's base balancer,
// which keeps a connection to every address, with picks of our own.
type balancerBuilder struct{}

// Name implements balancer.Builder.
func (balancerBuilder) Name() string { return Scheme }

// Build implements balancer.Builder.
func (balancerBuilder) Build(cc balancer.ClientConn, options balancer.BuildOptions) balancer.Balancer {
	r := &replicas{conn: cc, picker: picker.New(rand.IntN), nodes: map[string]pinetree.NodeID{}}
	return &routed{base.NewBalancerBuilder(Scheme, r, base.Config{}).Build(cc, options), r}
}

// routed is the base balancer, and hands on what the resolver found.
type routed struct {
	balancer.Balancer
	replicas *replicas
}

// UpdateClientConnState implements balancer.Balancer.
func (b *routed) UpdateClientConnState(s balancer.ClientConnState) error {
	if k, ok := s.ResolverState.Attributes.Value(routeAttribute).(*known); ok {
		b.replicas.learn(k)
	}
	return b.Balancer.UpdateClientConnState(s)
}

// replicas is what a connection knows of its volume. Every call picks from it, on
// any goroutine.
type replicas struct {
	conn balancer.ClientConn

	mu     sync.Mutex
	target target
	leader pinetree.NodeID
	nodes  map[string]pinetree.NodeID // by address
	picker *picker.Picker
}

func (r *replicas) learn(k *known) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target, r.leader = k.target, k.route.Leader
	clear(r.nodes)
	for _, replica := range k.route.Replicas {
		r.nodes[replica.Addr] = replica.Node
	}
	r.picker.Route(k.route.States, time.Now())
}

// Build implements base.PickerBuilder.
func (r *replicas) Build(info base.PickerBuildInfo) balancer.Picker {
	if len(info.ReadySCs) == 0 {
		return base.NewErrPicker(balancer.ErrNoSubConnAvailable)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &picks{replicas: r, ready: map[pinetree.NodeID]balancer.SubConn{}}
	for conn, at := range info.ReadySCs {
		p.ready[r.nodes[at.Address.Addr]] = conn
	}
	return p
}

// picks chooses among the replicas to which there is a connection.
type picks struct {
	replicas *replicas
	ready    map[pinetree.NodeID]balancer.SubConn
}

// Pick implements balancer.Picker.
func (p *picks) Pick(call balancer.PickInfo) (balancer.PickResult, error) {
	r := p.replicas
	r.mu.Lock()
	defer r.mu.Unlock()
	level, own := call.Ctx.Value(levelKey{}).(pinetree.ReadLevel)
	if !own {
		level = r.target.level
	}
	if level == pinetree.ReadDefault || !strings.HasPrefix(call.FullMethodName, "/"+wirepb.Reads_ServiceDesc.ServiceName+"/") {
		return p.pickLeader(), nil
	}
	return p.pickNearest(level, call.FullMethodName), nil
}

// pickLeader picks the leader, or else anybody, who will say who leads.
func (p *picks) pickLeader() balancer.PickResult {
	r := p.replicas
	node := r.leader
	if _, ready := p.ready[node]; !ready {
		node = p.first(picker.Wish{Zone: r.target.zone})
	}
	return balancer.PickResult{SubConn: p.ready[node], Done: func(done balancer.DoneInfo) { r.heard(wirepb.FromError(done.Err)) }}
}

func (p *picks) pickNearest(level pinetree.ReadLevel, method string) balancer.PickResult {
	r := p.replicas
	w := picker.Wish{Zone: r.target.zone}
	if level == pinetree.ReadConsistent {
		w.Stale = time.Nanosecond // one that is behind answers late
	}
	node, began := p.first(w), time.Now()
	r.picker.Begin(node)
	return balancer.PickResult{SubConn: p.ready[node], Done: func(done balancer.DoneInfo) {
		took := time.Since(began)
		if method == wirepb.Reads_Tail_FullMethodName {
			took = 0 // a stream lasts as long as its reader likes
		}
		r.ended(node, took, wirepb.FromError(done.Err))
	}}
}

// first is the node that comes first of those to which there is a connection.
func (p *picks) first(w picker.Wish) pinetree.NodeID {
	for _, node := range p.replicas.picker.Order(w, time.Now()) {
		if _, ready := p.ready[node]; ready {
			return node
		}
	}
	for node := range p.ready {
		return node // not of the route any more; it will say so
	}
	return 0
}

// ended takes note of what came of a call at a replica.
func (r *replicas) ended(node pinetree.NodeID, took time.Duration, err error) {
	now := time.Now()
	r.mu.Lock()
	switch {
	case err == nil || !ship.Elsewhere(err):
		r.picker.Served(node, 0, took, now)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		r.picker.Left(node, took, now)
	default:
		r.picker.Failed(node, now)
	}
	r.mu.Unlock()
	r.heard(err)
}

// heard follows a hint at the leader, and has the route asked for when a replica
// cannot serve and says of nobody known that it leads.
func (r *replicas) heard(err error) {
	if err == nil || !ship.Elsewhere(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return
	}
	if hint, ok := errors.AsType[*pinetree.NotLeaderError](err); ok && r.follow(hint.Leader) {
		return
	}
	r.conn.ResolveNow(grpcresolver.ResolveNowOptions{})
}

func (r *replicas) follow(leader pinetree.NodeID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, node := range r.nodes {
		if node == leader {
			r.leader = leader
			return true
		}
	}
	return false
}
