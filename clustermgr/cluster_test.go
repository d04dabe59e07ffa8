package clustermgr

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// cluster is managers and fake nodes on the loopback interface.
type cluster struct {
	t         *testing.T
	store     ledger.Store
	tune      func(manager int, cfg *Config)
	raft      *fakeRaft
	addresses []string // of all managers, also those not running
	listeners []net.Listener
	managers  []*runningManager
	nodes     []*fakeNode
	added     uint64 // the node that a story gives a replica, or takes away
}

type runningManager struct {
	manager *Manager
	address string
	stop    context.CancelFunc
	done    sync.WaitGroup
	client  wirepb.ManagerClient
	conn    *grpc.ClientConn
}

// newCluster runs one manager, reserves the addresses of others, and starts
// nodes in the zones given. The claim to the office is short, so that tests of
// managers do not take long.
func newCluster(t *testing.T, store ledger.Store, zones ...string) *cluster {
	t.Helper()
	return newTunedCluster(t, store, nil, zones...)
}

// newTunedCluster is newCluster with other settings of its managers.
func newTunedCluster(t *testing.T, store ledger.Store, tune func(manager int, cfg *Config), zones ...string) *cluster {
	t.Helper()
	c := newIdleCluster(t, store, func(_ *cluster, i int, cfg *Config) {
		if tune != nil {
			tune(i, cfg)
		}
	})
	for _, zone := range zones {
		c.node(zone)
	}
	for _, n := range c.nodes {
		c.eventually("heartbeats are answered", func() bool { defer n.lock()(); return n.peers > 0 })
	}
	return c
}

// newIdleCluster is a manager without nodes.
func newIdleCluster(t *testing.T, store ledger.Store, tune func(c *cluster, manager int, cfg *Config)) *cluster {
	t.Helper()
	c := &cluster{t: t, store: store, raft: &fakeRaft{terms: map[uint64]uint64{}, nodes: map[pinetree.NodeID]*fakeNode{}}}
	c.tune = func(i int, cfg *Config) { tune(c, i, cfg) }
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c.listeners = append(c.listeners, l)
		c.addresses = append(c.addresses, l.Addr().String())
	}
	t.Cleanup(c.close)
	c.manager(0)
	return c
}

func (c *cluster) close() {
	for _, n := range c.nodes {
		n.kill()
	}
	for _, m := range c.managers {
		m.end()
	}
	for _, l := range c.listeners {
		if l != nil {
			_ = l.Close()
		}
	}
}

func (m *runningManager) end() {
	m.stop()
	m.done.Wait()
	_ = m.conn.Close()
}

// listen waits for an address that was left a while ago: somebody else's connection
// may have been given its port meanwhile.
func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	for deadline := time.Now().Add(8 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		listener, err := net.Listen("tcp", address)
		if err == nil {
			return listener
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// manager starts the manager of a reserved address.
func (c *cluster) manager(i int) *runningManager {
	c.t.Helper()
	listener := c.listeners[i]
	if listener == nil {
		listener = listen(c.t, c.addresses[i])
	}
	c.listeners[i] = nil
	cfg := Config{
		Store: c.store, Address: c.addresses[i], OfficeClaim: 400 * time.Millisecond, OfficeConfirm: 50 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})).With("manager", i),
	}
	c.tune(i, &cfg)
	manager, err := New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &runningManager{manager: manager, address: c.addresses[i], stop: stop}
	m.done.Go(func() {
		if err := manager.Serve(ctx, listener); err != nil {
			c.t.Errorf("manager %d: %v", i, err)
		}
	})
	m.conn, err = grpc.NewClient("passthrough:///"+m.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(wirepb.UnaryClientErrors), grpc.WithStreamInterceptor(wirepb.StreamClientErrors))
	if err != nil {
		c.t.Fatal(err)
	}
	m.client = wirepb.NewManagerClient(m.conn)
	c.managers = append(c.managers, m)
	return m
}

// client talks to the newest manager.
func (c *cluster) client() wirepb.ManagerClient { return c.managers[len(c.managers)-1].client }

func (c *cluster) node(zone string) *fakeNode {
	n := &fakeNode{
		t: c.t, raft: c.raft, managers: c.addresses, instance: fmt.Sprintf("instance-%d", len(c.nodes)+1), zone: zone,
		poke: make(chan struct{}, 1), replicas: map[uint64]*fakeReplica{}, orders: map[string]int{},
		deleted: map[uint64]bool{},
	}
	c.nodes = append(c.nodes, n)
	n.start()
	c.eventually("the node has an id", func() bool { defer n.lock()(); return n.id != 0 })
	return n
}

func (c *cluster) byID(id uint64) *fakeNode {
	c.raft.mu.Lock()
	defer c.raft.mu.Unlock()
	return c.raft.nodes[pinetree.NodeID(id)]
}

func (c *cluster) eventually(what string, check func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(8 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if check() {
			return
		}
	}
	c.t.Fatalf("it did not come true in 8 s that %s", what)
}

func (c *cluster) context() context.Context {
	ctx, cancel := context.WithTimeout(c.t.Context(), 8*time.Second)
	c.t.Cleanup(cancel)
	return ctx
}

// createGroup makes a group with a leased leader.
func (c *cluster) createGroup(replicas uint32) *wirepb.GroupInfo {
	c.t.Helper()
	g, err := c.client().CreateGroup(c.context(), &wirepb.CreateGroupRequest{Replicas: replicas})
	if err != nil {
		c.t.Fatal(err)
	}
	c.eventually("every replica is reported", func() bool {
		return !slices.ContainsFunc(c.group(g.GetGroup()).GetReplicas(), func(r *wirepb.ReplicaInfo) bool { return r.GetStatus() == nil })
	})
	return g
}

// group is what the manager says of a group; nil while it does not answer.
func (c *cluster) group(id uint64) *wirepb.GroupInfo {
	list, err := c.client().ListGroups(c.context(), &wirepb.ListGroupsRequest{Group: id})
	if err != nil {
		return &wirepb.GroupInfo{Reason: err.Error()}
	}
	return list.GetGroups()[0]
}

// awaitLeader waits until another node than the given one leads with a lease,
// by its own account and the manager's.
func (c *cluster) awaitLeader(group, not uint64) *wirepb.GroupInfo {
	c.t.Helper()
	var g *wirepb.GroupInfo
	for deadline := time.Now().Add(8 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		g = c.group(group)
		if g.GetLeader() != 0 && g.GetLeader() != not && g.GetLeased() && c.holds(g.GetLeader(), group) {
			return g
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("group %d has no other leader than node %d after 8 s: %s", group, not, g.GetReason())
		}
	}
}

func (c *cluster) holds(id, group uint64) bool {
	c.raft.mu.Lock()
	defer c.raft.mu.Unlock()
	holders := c.raft.holders(group)
	return len(holders) == 1 && holders[0] == pinetree.NodeID(id)
}

// events lists what happened, as "kind node" with the cause.
func (c *cluster) events() []string {
	list, err := c.client().ListEvents(c.context(), &wirepb.ListEventsRequest{})
	if err != nil {
		c.t.Fatal(err)
	}
	var found []string
	for _, e := range list.GetEvents() {
		found = append(found, fmt.Sprintf("%s %d: %s; %s", e.GetKind(), e.GetNode(), e.GetCause(), e.GetOutcome()))
	}
	return found
}

// tells is happened for what is known to have been decided: an event is told once
// it is written.
func (c *cluster) tells(words ...string) bool {
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if c.happened(words...) {
			return true
		}
	}
	return c.happened(words...)
}

func (c *cluster) happened(words ...string) bool {
	for _, e := range c.events() {
		all := true
		for _, w := range words {
			all = all && strings.Contains(e, w)
		}
		if all {
			return true
		}
	}
	return false
}
