package resolver

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const theVolume, theGroup = 7, 3

// server is a gRPC server that can be stopped, and started again at its address.
type server struct {
	addr     string
	register func(*grpc.Server)
	grpc     *grpc.Server
	serving  sync.WaitGroup
}

func (s *server) start(t *testing.T) {
	t.Helper()
	if s.addr == "" {
		s.addr = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	s.addr = listener.Addr().String()
	s.grpc = grpc.NewServer(grpc.UnaryInterceptor(wirepb.UnaryServerErrors))
	s.register(s.grpc)
	s.serving.Go(func() { _ = s.grpc.Serve(listener) })
	t.Cleanup(s.stop)
}

func (s *server) stop() {
	s.grpc.Stop()
	s.serving.Wait()
}

// cluster is a manager and nodes that serve states of one volume as their role
// allows.
type cluster struct {
	t *testing.T

	mu      sync.Mutex
	leader  pinetree.NodeID
	routed  int  // nodes that the manager's route names
	remade  bool // the volume was deleted, and made again on the other nodes
	refused int  // calls that were sent to a node which does not lead
	manager *manager
	nodes   []*node
}

type manager struct {
	wirepb.UnimplementedManagerServer
	server
	cluster *cluster
}

type node struct {
	wirepb.UnimplementedReadsServer
	wirepb.UnimplementedComputeServer
	server
	cluster *cluster
	id      pinetree.NodeID
}

// newCluster starts nodes 1 to 4. Node 1 leads, and the first three have the
// volume.
func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, leader: 1, routed: 3}
	c.manager = &manager{cluster: c}
	c.manager.register = func(s *grpc.Server) { wirepb.RegisterManagerServer(s, c.manager) }
	c.manager.start(t)
	for id := pinetree.NodeID(1); id <= 4; id++ {
		n := &node{cluster: c, id: id}
		n.register = func(s *grpc.Server) {
			wirepb.RegisterReadsServer(s, n)
			wirepb.RegisterComputeServer(s, n)
		}
		n.start(t)
		c.nodes = append(c.nodes, n)
	}
	return c
}

func (c *cluster) lead(id pinetree.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = id
}

// connect dials as anybody would.
func (c *cluster) connect(options string) *grpc.ClientConn {
	c.t.Helper()
	conn, err := grpc.NewClient("pinetree://"+c.manager.addr+",127.0.0.1:1/db"+options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// read asks for the state at a level and returns who answered.
func read(ctx context.Context, conn *grpc.ClientConn, level wirepb.ReadLevel) (pinetree.NodeID, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, err := wirepb.NewReadsClient(conn).State(ctx, &wirepb.StateRequest{Volume: theVolume, Options: &wirepb.ReadOptions{Level: level}})
	return pinetree.NodeID(answer.GetServed().GetNode()), err
}

// serves waits until reads at a level are answered by one node, without an error
// on the way.
func (c *cluster) serves(conn *grpc.ClientConn, level wirepb.ReadLevel, want pinetree.NodeID) {
	c.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		got, err := read(context.Background(), conn, level)
		if err != nil {
			c.t.Fatalf("%v read: %v", level, err)
		}
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("node %d answers, want %d", got, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Route implements wirepb.ManagerServer.
func (m *manager) Route(_ context.Context, q *wirepb.RouteRequest) (*wirepb.RouteResponse, error) {
	c := m.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if q.GetVolumeName() != "db" {
		return nil, fmt.Errorf("%w: %q", pinetree.ErrUnknownVolume, q.GetVolumeName())
	}
	answer := &wirepb.RouteResponse{Volume: &wirepb.VolumeInfo{Volume: theVolume, Group: theGroup, Name: "db"}, Leader: uint64(c.leader)}
	on := c.nodes[:c.routed]
	if c.remade {
		answer.Volume.Volume, on = theVolume+1, c.nodes[c.routed:]
	}
	for _, n := range on {
		answer.Replicas = append(answer.Replicas, &wirepb.NodeInfo{Node: uint64(n.id), Address: n.addr, Zone: fmt.Sprintf("z%d", n.id)})
		answer.States = append(answer.States, &wirepb.ReplicaRoute{Node: uint64(n.id), Serves: true})
	}
	return answer, nil
}

func (n *node) mustLead() error {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	if n.id != n.cluster.leader {
		n.cluster.refused++
		return &pinetree.NotLeaderError{Group: theGroup, Leader: n.cluster.leader}
	}
	return nil
}

// State implements wirepb.ReadsServer.
func (n *node) State(_ context.Context, q *wirepb.StateRequest) (*wirepb.StateResponse, error) {
	if q.GetOptions().GetLevel() == wirepb.ReadLevel_DEFAULT {
		if err := n.mustLead(); err != nil {
			return nil, err
		}
	}
	return &wirepb.StateResponse{Served: &wirepb.Served{Node: uint64(n.id)}}, nil
}

// Resolve implements wirepb.ComputeServer.
func (n *node) Resolve(context.Context, *wirepb.ResolveRequest) (*wirepb.ResolveResponse, error) {
	if err := n.mustLead(); err != nil {
		return nil, err
	}
	return &wirepb.ResolveResponse{DurableLsn: uint64(n.id)}, nil
}
