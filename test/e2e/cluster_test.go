package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// node is a storage node's process. Peers reach it through its proxy; the test
// reaches it directly.
type node struct {
	process
	host  string // its loopback address
	addr  string // where it listens
	proxy *proxy
	http  string // where it serves HTTP
	dir   string
	image *image // nil when dir is on the machine's own file system
	id    pinetree.NodeID
}

// cluster is a manager and storage nodes as processes.
type cluster struct {
	t       *testing.T
	dir     string
	manager *process
	managed string // the manager's address
	// others are the managers beside the first one, and theirs are their addresses.
	others []*process
	theirs []string
	// credentials of the test's own connections; plaintext when nil.
	credentials credentials.TransportCredentials
	network     *network
	nodes       []*node
	flags       []string // of every node
	// images, by node, are the file systems on which nodes are; the others are in
	// dir.
	images []*image
	// reachable nodes are advertised under their own addresses, without a proxy.
	reachable bool
	// http: nodes serve HTTP, too.
	http bool
	// rates are those of the clocks of the manager and of the nodes; as they are
	// when there are none.
	rates []float64

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn // by address
}

func startCluster(t *testing.T, size int, flags ...string) *cluster {
	t.Helper()
	return startClusterOn(t, nil, size, flags...)
}

// startClusterOn starts a cluster whose first nodes are on file systems of their
// own.
func startClusterOn(t *testing.T, images []*image, size int, flags ...string) *cluster {
	t.Helper()
	c := emptyCluster(t, flags...)
	c.images = images
	c.fill(size)
	return c
}

// emptyCluster is one without any process.
func emptyCluster(t *testing.T, flags ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir(), managed: freeAddr(t, "127.0.0.1"), network: newNetwork(), flags: flags, conns: map[string]*grpc.ClientConn{}}
	t.Cleanup(c.stop)
	c.manager = &process{
		t: t, name: "manager", log: filepath.Join(c.dir, "manager.log"),
		args: []string{"manager", "--listen", c.managed, "--embed-etcd", filepath.Join(c.dir, "etcd")},
	}
	return c
}

// fill starts the manager and nodes.
func (c *cluster) fill(size int) {
	c.t.Helper()
	c.rate(c.manager, 0)
	c.manager.start()
	for range size {
		c.addNode()
	}
}

// addNode starts one more node. They register one after the other, so that the
// n-th process has node id n.
func (c *cluster) addNode() *node {
	c.t.Helper()
	id := len(c.nodes) + 1
	host := fmt.Sprintf("127.0.0.%d", id+1)
	n := &node{host: host, addr: freeAddr(c.t, host), dir: filepath.Join(c.dir, fmt.Sprintf("node%d", id)), id: pinetree.NodeID(id)}
	log := n.dir + ".log"
	if id <= len(c.images) {
		n.image = c.images[id-1]
		n.dir = n.image.place(n.dir)
	}
	n.proxy = newProxy(c.t, c.network, host, n.addr)
	advertise := n.proxy.addr()
	if c.reachable {
		advertise = n.addr
	}
	n.process = process{
		t: c.t, name: fmt.Sprintf("node %d", id), log: log,
		args: append([]string{"node", "--dir", n.dir, "--listen", n.addr, "--advertise", advertise,
			"--call-from", host, "--manager", strings.Join(append([]string{c.managed}, c.theirs...), ","), "--zone", string(rune('a' + id - 1))}, c.flags...),
	}
	if c.http {
		n.http = freeAddr(c.t, host)
		n.process.args = append(n.process.args, "--http", n.http)
	}
	c.rate(&n.process, id)
	n.start()
	c.nodes = append(c.nodes, n)
	within(c.t, 20*time.Second, n.name+" registers", func() error { return c.registered(id) })
	return n
}

func (c *cluster) stop() {
	for _, n := range c.nodes {
		n.signal(syscall.SIGCONT)
		n.kill()
	}
	for _, m := range append(c.others, c.manager) {
		m.signal(syscall.SIGCONT)
		m.kill()
	}
	c.network.close()
	for _, n := range c.nodes {
		n.proxy.close()
	}
	if c.t.Failed() {
		for _, m := range append(c.others, c.manager) {
			m.tail()
		}
		for _, n := range c.nodes {
			n.tail()
		}
	}
}

// context of one call.
func (c *cluster) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	c.t.Cleanup(cancel)
	return ctx
}

// dial gives the connection to an address, which is made when it is first used and
// tries again soon when it fails.
func (c *cluster) dial(addr string) *grpc.ClientConn {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn := c.conns[addr]; conn != nil {
		return conn
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(c.creds()),
		grpc.WithChainUnaryInterceptor(wirepb.UnaryClientErrors), grpc.WithChainStreamInterceptor(wirepb.StreamClientErrors),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	c.conns[addr] = conn
	return conn
}

func (c *cluster) creds() credentials.TransportCredentials {
	if c.credentials == nil {
		return insecure.NewCredentials()
	}
	return c.credentials
}

func (c *cluster) manages() wirepb.ManagerClient { return wirepb.NewManagerClient(c.dial(c.managed)) }

func (c *cluster) registered(count int) error {
	conn, err := net.DialTimeout("tcp", c.managed, time.Second)
	if err != nil {
		return err
	}
	conn.Close()
	list, err := c.manages().ListNodes(c.within(2*time.Second), &wirepb.ListNodesRequest{})
	if err != nil {
		return err
	}
	if len(list.Nodes) < count {
		return fmt.Errorf("%d nodes are registered", len(list.Nodes))
	}
	return nil
}

// createVolume makes a volume with a group of its own on all nodes.
func (c *cluster) createVolume(name string, format pinetree.Format) *wirepb.VolumeInfo {
	c.t.Helper()
	var v *wirepb.VolumeInfo
	within(c.t, 30*time.Second, "volume "+name, func() error {
		var err error
		v, err = c.manages().CreateVolume(c.within(10*time.Second), &wirepb.CreateVolumeRequest{
			Name: name, Format: uint32(format), Replicas: uint32(len(c.nodes)),
		})
		return err
	})
	return v
}

// holder finds who leads a group and whether it has the lease, by the manager's
// word.
func (c *cluster) holder(group uint64) (n *node, leased bool, err error) {
	list, err := c.manages().ListGroups(c.within(2*time.Second), &wirepb.ListGroupsRequest{Group: group})
	if err != nil {
		return nil, false, err
	}
	for _, g := range list.Groups {
		if g.Group == group && g.Leader != 0 {
			return c.byID(g.Leader), g.Leased, nil
		}
	}
	return nil, false, fmt.Errorf("group %d has no leader: %v", group, list.Groups)
}

func (c *cluster) byID(id uint64) *node {
	c.t.Helper()
	at := slices.IndexFunc(c.nodes, func(n *node) bool { return n.id == pinetree.NodeID(id) })
	if at < 0 {
		c.t.Fatalf("there is no node %d", id)
	}
	return c.nodes[at]
}

func (c *cluster) leader(group uint64) (*node, error) {
	n, _, err := c.holder(group)
	return n, err
}

func (c *cluster) mustLeader(group uint64) *node {
	c.t.Helper()
	var n *node
	within(c.t, 10*time.Second, "a leader", func() error {
		var err error
		n, err = c.leader(group)
		return err
	})
	return n
}

// isolate cuts a node off from its peers, or heals that. Clients and the
// manager still reach it.
func (c *cluster) isolate(n *node, cut bool) {
	for _, other := range c.nodes {
		if other != n {
			c.network.set(n.host, other.host, cut)
			c.network.set(other.host, n.host, cut)
		}
	}
}

// client is a ship client of a volume.
func (c *cluster) client(volume string) *ship.Client {
	c.t.Helper()
	return c.clientWith(volume, func(*ship.Config) {})
}

func (c *cluster) clientWith(volume string, change func(*ship.Config)) *ship.Client {
	c.t.Helper()
	said, err := os.OpenFile(filepath.Join(c.dir, "clients.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { said.Close() })
	cfg := ship.Config{
		Managers: append([]string{c.managed}, c.theirs...), Volume: volume, Dial: []grpc.DialOption{grpc.WithTransportCredentials(c.creds())},
		Logger: slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	change(&cfg)
	client, err := ship.Dial(c.within(10*time.Second), cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { client.Close() })
	return client
}

func (c *cluster) reads(n *node) wirepb.ReadsClient { return wirepb.NewReadsClient(c.dial(n.addr)) }

// log reads the whole log of a volume as one node has it.
func (c *cluster) log(n *node, volume uint64, upTo pinetree.LSN) ([]pinetree.Record, error) {
	var records []pinetree.Record
	err := c.eachRecord(n, volume, upTo, func(r pinetree.Record) error {
		r.Payload = append([]byte(nil), r.Payload...)
		records = append(records, r)
		return nil
	})
	return records, err
}

// eachRecord reads the whole log of a volume as one node has it, at least up to an
// LSN, and checks that it is one chain of whole batches.
func (c *cluster) eachRecord(n *node, volume uint64, upTo pinetree.LSN, each func(pinetree.Record) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	// A node that has just started knows a volume once it has replayed its making.
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if _, err := c.state(n, volume, wirepb.ReadLevel_STALE, 2*time.Second); !errors.Is(err, pinetree.ErrUnknownVolume) {
			break
		}
	}
	stream, err := c.reads(n).Tail(ctx, &wirepb.TailRequest{
		Volume: volume, Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE, MinLsn: uint64(upTo)},
	})
	if err != nil {
		return err
	}
	var tail pinetree.LSN
	for {
		response, err := stream.Recv()
		if err != nil {
			if tail >= upTo && isEOF(err) {
				return nil
			}
			return fmt.Errorf("%s: after %s of %s: %w", n.name, tail, upTo, err)
		}
		for _, encoded := range response.Batches {
			b, rest, err := storepb.DecodeBatch(encoded)
			if err != nil || len(rest) != 0 {
				return fmt.Errorf("%s: %d bytes after a batch, %w", n.name, len(rest), err)
			}
			err = storepb.Records(b, func(r pinetree.Record) error {
				if r.Prev != tail {
					return fmt.Errorf("%s: record (%s, %s] follows on %s", n.name, r.Prev, r.LSN, tail)
				}
				tail = r.LSN
				return each(r)
			})
			if err != nil {
				return err
			}
		}
	}
}

// digest is what a node has replayed of a volume up to an LSN.
func (c *cluster) digest(n *node, volume uint64, at pinetree.LSN) (string, error) {
	d, err := c.reads(n).Digest(c.within(2*time.Minute), &wirepb.DigestRequest{
		Volume: volume, Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE, MinLsn: uint64(at), At: uint64(at)},
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w", n.name, err)
	}
	return fmt.Sprintf("%x of %d records, %d bytes", d.Digest, d.Records, d.Bytes), nil
}
