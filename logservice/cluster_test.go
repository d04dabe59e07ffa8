package logservice

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/memengine"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
	"github.com/pinetree-db/pinetree/raftlog/memlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scriptedManager registers nodes and grants what the test lets it grant.
type scriptedManager struct {
	wirepb.UnimplementedManagerServer
	address string
	server  *grpc.Server

	mu        sync.Mutex
	nodes     []*wirepb.NodeInfo
	instances map[string]uint64
	grant     bool   // answer leaders with grants
	sequence  uint64 // when not zero, answers name this one
	reports   map[uint64]*wirepb.HeartbeatRequest
	grants    int
}

func startManager(t *testing.T) *scriptedManager {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &scriptedManager{
		address: l.Addr().String(), grant: true,
		instances: map[string]uint64{}, reports: map[uint64]*wirepb.HeartbeatRequest{},
	}
	m.serve(l)
	t.Cleanup(func() { m.server.Stop() })
	return m
}

func (m *scriptedManager) serve(l net.Listener) {
	m.server = grpc.NewServer(grpc.UnaryInterceptor(wirepb.UnaryServerErrors), grpc.StreamInterceptor(wirepb.StreamServerErrors))
	wirepb.RegisterManagerServer(m.server, m)
	go func() { _ = m.server.Serve(l) }() // ends with Stop
}

func (m *scriptedManager) Register(_ context.Context, q *wirepb.RegisterRequest) (*wirepb.RegisterResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id, known := m.instances[q.Instance]
	switch {
	case known && q.Node != 0 && q.Node != id, !known && q.Node != 0:
		return nil, fmt.Errorf("%w: node %d is another directory", pinetree.ErrExists, q.Node)
	case !known:
		id = uint64(len(m.nodes) + 1)
		m.instances[q.Instance] = id
		m.nodes = append(m.nodes, &wirepb.NodeInfo{Node: id, Zone: q.Zone})
	}
	m.nodes[id-1] = &wirepb.NodeInfo{Node: id, Zone: q.Zone, Address: q.Address}
	return &wirepb.RegisterResponse{Cluster: "test", Node: id, HeartbeatIntervalMs: 40}, nil
}

func (m *scriptedManager) Heartbeat(stream wirepb.Manager_HeartbeatServer) error {
	for {
		q, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := stream.Send(m.answer(q)); err != nil {
			return err
		}
	}
}

func (m *scriptedManager) answer(q *wirepb.HeartbeatRequest) *wirepb.HeartbeatResponse {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reports[q.Node] = q
	r := &wirepb.HeartbeatResponse{Sequence: q.Sequence}
	if m.sequence != 0 {
		r.Sequence = m.sequence
	}
	for _, n := range m.nodes {
		r.Peers = append(r.Peers, &wirepb.NodeInfo{Node: n.Node, Address: n.Address, Zone: n.Zone})
	}
	for _, s := range q.Replicas {
		if s.Leader && m.grant && !s.Quiet { // as a manager does: a grant would wake it
			m.grants++
			r.Grants = append(r.Grants, &wirepb.Grant{Group: s.Group, Appointment: s.Appointment, RaftTerm: s.RaftTerm, DurationMs: 400})
		}
	}
	return r
}

func (m *scriptedManager) set(do func(*scriptedManager)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	do(m)
}

// member is one node of a test cluster; its stores outlive it.
type member struct {
	t       *testing.T
	dir     string
	addr    string
	log     *memlog.Store
	engines *memengine.Store
	node    *Node
	conn    *grpc.ClientConn
	ran     chan error
}

type cluster struct {
	t       *testing.T
	manager *scriptedManager
	members []*member
	voters  []uint64
}

func startCluster(t *testing.T, size int) *cluster {
	t.Helper()
	c := &cluster{t: t, manager: startManager(t)}
	for i := range size {
		m := &member{t: t, dir: t.TempDir(), addr: "127.0.0.1:0", log: memlog.New(), engines: memengine.New(memengine.Options{FlushOnApply: true})}
		c.members = append(c.members, m)
		m.start(c.manager.address)
		c.voters = append(c.voters, uint64(i+1))
		t.Cleanup(m.stop)
	}
	c.eventually("every node knows all addresses", func() error {
		for _, m := range c.members {
			if _, ok := m.node.peers.address(pinetree.NodeID(size)); !ok {
				return fmt.Errorf("node %d does not", m.node.Identity().Node)
			}
		}
		return nil
	})
	return c
}

func (m *member) start(managers ...string) {
	m.t.Helper()
	// When it starts again, somebody else's connection may have its port.
	l, err := net.Listen("tcp", m.addr)
	for deadline := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		l, err = net.Listen("tcp", m.addr)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.addr = l.Addr().String()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	m.node, err = New(ctx, Config{
		Dir: m.dir, Listener: l, Managers: managers, Log: m.log, Engines: m.engines, Zone: "here", TrimEvery: 20 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(testOutput(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.ran = make(chan error, 1)
	node := m.node
	go func() { m.ran <- node.Run(context.Background()) }()
	m.conn, err = grpc.NewClient("passthrough:///"+m.addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(wirepb.UnaryClientErrors), grpc.WithStreamInterceptor(wirepb.StreamClientErrors),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		m.t.Fatal(err)
	}
}

func testOutput() *os.File {
	if testing.Verbose() {
		return os.Stderr
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		panic(err)
	}
	return null
}

// stop ends the node; its Run must end without an error.
func (m *member) stop() {
	if m.node == nil {
		return
	}
	if err := m.node.Close(); err != nil {
		m.t.Errorf("close: %v", err)
	}
	if err := <-m.ran; err != nil {
		m.t.Errorf("run: %v", err)
	}
	if err := m.conn.Close(); err != nil {
		m.t.Errorf("close connection: %v", err)
	}
	m.node = nil
}

func (c *cluster) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	c.t.Cleanup(cancel)
	return ctx
}

// eventually waits for what the test needs to go on.
func (c *cluster) eventually(what string, done func() error) {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := done()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// group makes a group with one volume, led by the given member, and waits until
// every member has replayed that there is the volume.
func (c *cluster) group(leader int, format pinetree.Format) {
	c.t.Helper()
	for _, m := range c.members {
		if _, err := wirepb.NewNodeClient(m.conn).CreateReplica(c.ctx(), &wirepb.CreateReplicaRequest{Group: 1, Voters: c.voters}); err != nil {
			c.t.Fatal(err)
		}
	}
	c.appoint(leader, 1)
	at := wirepb.NewNodeClient(c.members[leader].conn)
	c.eventually("the volume is made", func() error {
		_, err := at.CreateVolume(c.ctx(), &wirepb.NodeCreateVolumeRequest{Group: 1, Volume: 7, Format: uint32(format)})
		return err
	})
	for _, m := range c.members {
		c.eventually("the volume is known", func() error {
			_, err := m.node.host.Volume(7)
			return err
		})
	}
}

func (c *cluster) appoint(leader int, id uint64) {
	c.t.Helper()
	r, err := wirepb.NewNodeClient(c.members[leader].conn).Appoint(c.ctx(), &wirepb.AppointRequest{Group: 1, Appointment: id})
	if err != nil {
		c.t.Fatal(err)
	}
	if !r.Status.Leader || r.Status.Appointment != id {
		c.t.Fatalf("appointed %d, and the status is %v", id, r.Status)
	}
}

func (m *member) compute() wirepb.ComputeClient { return wirepb.NewComputeClient(m.conn) }
func (m *member) reads() wirepb.ReadsClient     { return wirepb.NewReadsClient(m.conn) }

// shipper is one stream of a writer.
type shipper struct {
	c      *cluster
	term   pinetree.ComputeTerm
	at     pinetree.LSN
	stream grpc.BidiStreamingClient[wirepb.ShipRequest, wirepb.ShipResponse]
}

// open opens a compute term on a member and a stream to it.
func (c *cluster) open(at int, q *wirepb.OpenRequest) *shipper {
	c.t.Helper()
	q.Volume = 7
	var opened *wirepb.OpenResponse
	c.eventually("the term is opened", func() (err error) {
		opened, err = c.members[at].compute().Open(c.ctx(), q)
		return err
	})
	s := &shipper{c: c, term: pinetree.ComputeTerm(opened.ComputeTerm), at: pinetree.LSN(opened.DurableLsn)}
	var err error
	if s.stream, err = c.members[at].compute().Ship(c.ctx()); err != nil {
		c.t.Fatal(err)
	}
	return s
}

// batch makes the next batch of n records with the given payload.
func (s *shipper) batch(n int, payload []byte) pinetree.Batch {
	s.c.t.Helper()
	var records []pinetree.Record
	for range n {
		next := s.at + pinetree.LSN(len(payload)) + 1
		records = append(records, pinetree.Record{Prev: s.at, LSN: next, Payload: payload})
		s.at = next
	}
	b, err := storepb.EncodeBatch(7, s.term, records)
	if err != nil {
		s.c.t.Fatal(err)
	}
	return b
}

func (s *shipper) send(batches ...pinetree.Batch) {
	s.c.t.Helper()
	q := &wirepb.ShipRequest{Volume: 7, ComputeTerm: uint64(s.term)}
	for _, b := range batches {
		q.Batches = append(q.Batches, b.Encoded)
	}
	if err := s.stream.Send(q); err != nil {
		s.c.t.Fatal(err)
	}
}

// await waits for the acknowledgement of an LSN.
func (s *shipper) await(lsn pinetree.LSN) {
	s.c.t.Helper()
	for {
		r, err := s.stream.Recv()
		if err != nil {
			s.c.t.Fatalf("waiting for %s: %v", lsn, err)
		}
		if pinetree.LSN(r.CommittedLsn) >= lsn {
			return
		}
	}
}

// fails waits for the error that ends the stream.
func (s *shipper) fails() error {
	s.c.t.Helper()
	for {
		if _, err := s.stream.Recv(); err != nil {
			return err
		}
	}
}
