// Package localcluster runs a manager and storage nodes on this machine, as
// child processes of the calling binary. It knows processes, addresses and
// directories, and asks the manager who is there; it knows nothing of volumes.
package localcluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

const (
	host = "127.0.0.1"
	// startTimeout bounds the start of a cluster.
	startTimeout = 30 * time.Second
	// askTimeout bounds one question to the manager, pollInterval paces them.
	askTimeout, pollInterval = 2 * time.Second, 25 * time.Millisecond
)

// Config says which cluster to start.
type Config struct {
	// Dir is where everything is kept. What an earlier cluster left there goes
	// on.
	Dir   string
	Nodes int
	// Binary is the pinetree to run; this process's own when empty.
	Binary string
	// Manager is where the manager listens; a free port when empty.
	Manager string
	// NodeArgs are added to each node's command line.
	NodeArgs []string
	// Metrics makes each node serve its metrics and profiles on a free port.
	Metrics bool
	// TLS of all processes, and of the questions that the cluster asks them.
	TLS cli.TLS
}

// Cluster is a running cluster. It belongs to one goroutine.
type Cluster struct {
	Manager *Process
	Nodes   []*Process
	ids     map[pinetree.NodeID]*Process
	tls     cli.TLS
}

// Start starts a cluster and returns once every node is known and alive. On
// error what was started is stopped.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if cfg.Binary == "" {
		var err error
		if cfg.Binary, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	c, err := cfg.cluster()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// cluster makes the processes, without starting them.
func (cfg Config) cluster() (*Cluster, error) {
	logs := filepath.Join(cfg.Dir, "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return nil, err
	}
	addrs, err := freeAddresses(2*cfg.Nodes + 1)
	if err != nil {
		return nil, err
	}
	if cfg.Manager != "" {
		addrs[0] = cfg.Manager
		if err := checkFree(cfg.Manager); err != nil {
			return nil, err
		}
	}
	c := &Cluster{ids: map[pinetree.NodeID]*Process{}, tls: cfg.TLS}
	c.Manager = &Process{
		Name: "the manager", Addr: addrs[0], Log: filepath.Join(logs, "manager.log"), binary: cfg.Binary,
		args: append([]string{"manager", "--listen", addrs[0], "--embed-etcd", filepath.Join(cfg.Dir, "etcd")}, cfg.TLS.Args()...),
	}
	for i := range cfg.Nodes {
		name := fmt.Sprintf("node-%d", i+1)
		p := &Process{
			Name: name, Addr: addrs[i+1], Dir: filepath.Join(cfg.Dir, name), Log: filepath.Join(logs, name+".log"), binary: cfg.Binary,
		}
		p.args = []string{"node", "--dir", p.Dir, "--listen", p.Addr, "--manager", addrs[0], "--zone", string(rune('a' + i%26))}
		if cfg.Metrics {
			p.Metrics = addrs[cfg.Nodes+1+i]
			p.args = append(p.args, "--metrics", p.Metrics)
		}
		p.args = append(append(p.args, cfg.TLS.Args()...), cfg.NodeArgs...)
		c.Nodes = append(c.Nodes, p)
	}
	return c, nil
}

// Ports come from below those that Linux gives to connections (32768 and up, see
// ip(7)): the nodes' own calls, which begin before the last of them listens, would
// sooner or later have one that was found free.
const firstPort, lastPort = 10_000, 32_000

// freeAddresses finds ports on which nobody listens. They stay free long enough
// in practice; a process that does not get its port says so.
func freeAddresses(n int) ([]string, error) {
	var addrs []string
	var last error
	for tries := 0; len(addrs) < n && tries < 100+n; tries++ {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(firstPort+rand.IntN(lastPort-firstPort))))
		if err != nil {
			last = err
			continue
		}
		defer l.Close() // all at once at the end, so that they differ
		addrs = append(addrs, l.Addr().String())
	}
	if len(addrs) < n {
		return nil, fmt.Errorf("of ports %d to %d of %s too few are free: %w", firstPort, lastPort, host, last)
	}
	return addrs, nil
}

func checkFree(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("the manager cannot listen on %s (%w); is a cluster running already? --listen takes another address", addr, err)
	}
	return l.Close()
}

// start starts the manager, then the nodes one after the other, so that they
// get their ids in order.
func (c *Cluster) start(ctx context.Context) error {
	if err := c.Manager.Start(); err != nil {
		return err
	}
	if err := c.until(ctx, "the manager answers", func(nodes []*wirepb.NodeInfo) bool { return true }); err != nil {
		return err
	}
	for _, p := range c.Nodes {
		if err := p.Start(); err != nil {
			return err
		}
		if err := c.until(ctx, p.Name+" is alive", func(nodes []*wirepb.NodeInfo) bool { return c.find(p, nodes) }); err != nil {
			return err
		}
	}
	return nil
}

// find notes the id of a process once the manager hears of it.
func (c *Cluster) find(p *Process, nodes []*wirepb.NodeInfo) bool {
	for _, n := range nodes {
		if n.Address == p.Addr && n.State == "alive" {
			c.ids[pinetree.NodeID(n.Node)] = p
			return true
		}
	}
	return false
}

// until asks the manager for its nodes until they are as wanted, ctx ends, or a
// process has ended.
func (c *Cluster) until(ctx context.Context, what string, wanted func([]*wirepb.NodeInfo) bool) error {
	for {
		var nodes []*wirepb.NodeInfo
		err := c.Ask(ctx, func(ctx context.Context, m wirepb.ManagerClient) error {
			r, err := m.ListNodes(ctx, &wirepb.ListNodesRequest{})
			nodes = r.GetNodes()
			return err
		})
		if err == nil && wanted(nodes) {
			return nil
		}
		if failed := c.Failure(); failed != nil {
			return failed
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return fmt.Errorf("starting the cluster: not in time: %s: %w", what, errors.Join(context.Cause(ctx), err))
		}
	}
}

// Failure describes the first process that has ended, if any.
func (c *Cluster) Failure() error {
	for _, p := range append([]*Process{c.Manager}, c.Nodes...) {
		if err := p.Failure(); err != nil {
			return err
		}
	}
	return nil
}

// Ask asks the manager something.
func (c *Cluster) Ask(ctx context.Context, fn func(context.Context, wirepb.ManagerClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	managers := cli.Managers{Addresses: []string{c.Manager.Addr}, TLS: c.tls}
	return managers.Call(ctx, fn)
}

// Node is the process of a node id; nil when there is none.
func (c *Cluster) Node(id pinetree.NodeID) *Process { return c.ids[id] }

// Close stops every process, the nodes first, and waits for them.
func (c *Cluster) Close() error {
	failed := make([]error, len(c.Nodes))
	var stopping sync.WaitGroup
	for i, p := range c.Nodes {
		stopping.Go(func() { failed[i] = p.Stop() })
	}
	stopping.Wait()
	return errors.Join(append(failed, c.Manager.Stop())...)
}
