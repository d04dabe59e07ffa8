package logservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/logservice/metaserver"
	"github.com/pinetree-db/pinetree/logservice/quota"
	"github.com/pinetree-db/pinetree/logservice/transport"
	"github.com/pinetree-db/pinetree/logservice/trimmer"
	"github.com/pinetree-db/pinetree/proto/wirepb"
	"github.com/pinetree-db/pinetree/raftlog"
)

// Config is what a Node is made of. The stores stay the caller's to close,
// after the node; the listener becomes the node's.
type Config struct {
	// Dir holds the node's identity and its cache of peers.
	Dir      string
	Listener net.Listener
	// Advertise is where peers, clients and managers reach the node; the
	// listener's address when empty.
	Advertise string
	// Managers are the addresses of the cluster's manager processes.
	Managers []string
	Zone     string

	Log     raftlog.Store
	Engines engine.Store
	// Options of the replicas; host.DefaultOptions when nil.
	Options *host.Options
	// Transport is how raft messages travel.
	Transport transport.Mode
	// Snapshots bounds what snapshots take of the node.
	Snapshots transport.SnapshotLimits
	// TrimEvery is how often volumes are looked at for what need not be kept;
	// trimmer.DefaultEvery when zero.
	TrimEvery time.Duration
	// Dial adds to the options of connections to managers and peers. Connect makes
	// those of raft messages when Transport is ModeTCP; plaintext when nil.
	Dial    []grpc.DialOption
	Connect func(ctx context.Context, address string) (net.Conn, error)
	// Credentials protect the connections that others make; plaintext when nil.
	Credentials credentials.TransportCredentials
	// Registry, when not nil, is given the node's metrics.
	Registry prometheus.Registerer
	Logger   *slog.Logger
}

// Node is a storage node.
type Node struct {
	cfg      Config
	log      *slog.Logger
	identity Identity
	peers    *peerTable
	host     *host.Host
	network  *transport.Transport
	agent    *agent
	trimmer  *trimmer.Trimmer
	server   *grpc.Server
	health   *health.Server
	metrics  *metrics
	meta     *metaserver.Service
	quota    *quota.Keeper

	// running counts the goroutines that receive from writers and readers.
	running sync.WaitGroup
	// exporting is held by the one Export that runs.
	exporting sync.Mutex

	// closing is closed by Close, for streams that wait for their clients.
	closing chan struct{}
	// asked are the streams of questions that are open.
	asked atomic.Int64

	mu      sync.Mutex
	closed  bool
	cancel  context.CancelFunc // ends Run; nil before
	ended   chan struct{}      // closed when Run has returned; nil before
	release sync.Once
}

// New prepares a node and opens its replicas. A directory without an identity
// is a new node: New then waits for a cluster manager to give it an id, until
// ctx ends. A directory with one needs no manager. On error everything that was
// opened is closed again, but for the stores.
func New(ctx context.Context, cfg Config) (*Node, error) {
	n, err := prepare(cfg)
	if err == nil {
		err = n.findIdentity(ctx)
	}
	if err == nil {
		err = n.open()
	}
	if err != nil {
		return nil, errors.Join(err, cfg.Listener.Close())
	}
	return n, nil
}

func prepare(cfg Config) (*Node, error) {
	if len(cfg.Managers) == 0 {
		return nil, errors.New("a node needs the address of at least one cluster manager")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Options == nil {
		defaults := host.DefaultOptions()
		cfg.Options = &defaults
	}
	if cfg.Advertise == "" {
		at, ok := cfg.Listener.Addr().(*net.TCPAddr)
		if ok && at.IP.IsUnspecified() {
			return nil, fmt.Errorf("the node listens on every address (%s), so it must be told which one to advertise to others", at)
		}
		cfg.Advertise = cfg.Listener.Addr().String()
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, log: cfg.Logger, metrics: newMetrics(), quota: quota.NewKeeper(), closing: make(chan struct{})}
	var err error
	if n.peers, err = openPeers(filepath.Join(cfg.Dir, peersFile)); err != nil {
		n.log.Warn("the cache of peers cannot be used; the manager will tell their addresses", "err", err)
	}
	return n, nil
}

// findIdentity reads who this node is, or becomes a new node.
func (n *Node) findIdentity(ctx context.Context) error {
	id, err := ReadIdentity(n.cfg.Dir)
	there, err := known(err)
	if err != nil {
		return err
	}
	if !there {
		groups, err := n.cfg.Engines.Groups()
		if err != nil {
			return err
		}
		if len(groups) > 0 {
			return fmt.Errorf("%s holds %d replicas but no identity: restore its file %q, or start with an empty directory as a new node", n.cfg.Dir, len(groups), IdentityFile)
		}
		instance, err := newInstance()
		if err != nil {
			return err
		}
		if id, err = n.registerNew(ctx, instance); err != nil {
			return err
		}
		if err := writeIdentity(n.cfg.Dir, id); err != nil {
			return err
		}
	}
	n.identity = id
	n.log = n.log.With("node", id.Node)
	return nil
}

// open starts the replicas. Messages that arrive or fail before that is done
// are dropped, which raft repairs.
func (n *Node) open() error {
	var opened atomic.Pointer[host.Host]
	n.network = transport.New(transport.Config{
		Cluster: n.identity.Cluster, Node: n.identity.Node, Address: n.peers.address, Mode: n.cfg.Transport,
		Deliver: func(messages []wirepb.GroupMessage) {
			if h := opened.Load(); h != nil {
				h.Deliver(messages)
			}
		},
		Unreachable: func(peer pinetree.NodeID, groups []pinetree.GroupID) {
			if h := opened.Load(); h != nil {
				h.Unreachable(peer, groups)
			}
		},
		TakeSnapshot: func(ctx context.Context, from pinetree.NodeID, m wirepb.GroupMessage, next func() ([]byte, error)) error {
			if h := opened.Load(); h != nil {
				return h.TakeSnapshot(ctx, from, m, next)
			}
			return fmt.Errorf("%w: node %d opens its replicas", pinetree.ErrStopped, n.identity.Node)
		},
		Snapshots: n.cfg.Snapshots,
		Dial:      n.cfg.Dial, Connect: n.cfg.Connect, Logger: n.log,
	})
	n.agent = &agent{node: n, log: n.log, changed: make(chan struct{}, 1)}
	h, err := host.NewHost(host.Config{
		Node: n.identity.Node, Log: timed(n.cfg.Log, n.metrics.fsync), Engines: n.cfg.Engines,
		Send: n.network.Send, SendSnapshot: n.network.SendSnapshot, Clock: lease.BootTime, Options: *n.cfg.Options, Logger: n.cfg.Logger, Changed: n.agent.poke,
	})
	if err != nil {
		return errors.Join(err, n.network.Close())
	}
	opened.Store(h)
	n.host = h
	n.agent.reporter = &reporter{host: h, last: map[pinetree.GroupID]report{}}
	n.trimmer = trimmer.New(trimmer.Config{Host: h, Clock: lease.BootTime, Every: n.cfg.TrimEvery, Logger: n.log})
	n.buildServer()
	if n.cfg.Registry != nil {
		if err := n.metrics.register(n.cfg.Registry, n); err != nil {
			return errors.Join(err, n.shutdown())
		}
	}
	return nil
}

// Identity tells who this node is.
func (n *Node) Identity() Identity { return n.identity }

// Address is where others reach the node.
func (n *Node) Address() string { return n.cfg.Advertise }

// Run serves until ctx ends or Close is called, which is no error, or until the
// node cannot go on: the cluster refuses its directory, or the listener fails.
// When it returns, everything of the node but the stores is closed. It is
// called once.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.cancel, n.ended = cancel, make(chan struct{})
	n.mu.Unlock()
	defer close(n.ended)

	n.log.Info("serves", "address", n.cfg.Advertise, "zone", n.cfg.Zone, "cluster", n.identity.Cluster)
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error {
		if err := n.server.Serve(n.cfg.Listener); !errors.Is(err, grpc.ErrServerStopped) {
			return err
		}
		return nil
	})
	tasks.Go(func() error { return n.agent.run(ctx) })
	tasks.Go(func() error { return n.trimmer.Run(ctx) })
	tasks.Go(func() error {
		<-ctx.Done()
		return n.shutdown()
	})
	return tasks.Wait()
}

// Close ends the node and waits until it has ended. Calling it again does
// nothing.
func (n *Node) Close() error {
	n.mu.Lock()
	n.closed = true
	cancel, ended := n.cancel, n.ended
	n.mu.Unlock()
	if ended == nil {
		return n.shutdown()
	}
	cancel()
	<-ended
	return nil
}

// graceful is how long calls may take to end after the replicas have stopped.
const graceful = time.Second

// shutdown stops the replicas, which answers everybody who waits for one, then
// the network.
func (n *Node) shutdown() (err error) {
	n.release.Do(func() {
		n.mu.Lock()
		n.closed = true
		n.mu.Unlock()
		n.health.Shutdown()
		err = errors.Join(n.host.Close(), n.network.Close())
		close(n.closing)
		slow := time.AfterFunc(graceful, n.server.Stop)
		n.server.GracefulStop()
		slow.Stop()
		n.running.Wait()
		err = errors.Join(err, closeListener(n.cfg.Listener))
		n.log.Info("has stopped")
	})
	return err
}

// closeListener closes a listener that the server may have closed before.
func closeListener(l net.Listener) error {
	if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// begin counts one more receiving goroutine, unless the node is closed.
func (n *Node) begin() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.running.Add(1)
	return true
}

func (n *Node) newManagers() *managers {
	return &managers{addresses: n.cfg.Managers, dial: n.cfg.Dial}
}

func errStopping(id pinetree.NodeID) error {
	return fmt.Errorf("%w: node %d is stopping", pinetree.ErrStopped, id)
}
