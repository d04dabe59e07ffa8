package transport

import (
	"bytes"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// book is where the nodes of a test find each other.
type book struct {
	mu        sync.Mutex
	addresses map[pinetree.NodeID]string
}

func (b *book) find(id pinetree.NodeID) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	addr, known := b.addresses[id]
	return addr, known
}

func (b *book) set(id pinetree.NodeID, addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.addresses == nil {
		b.addresses = map[pinetree.NodeID]string{}
	}
	b.addresses[id] = addr
}

// node is a transport and its server on loopback, and what it received.
type node struct {
	*Transport
	server *grpc.Server
	addr   string
	log    *lockedBuffer

	mu          sync.Mutex
	received    []wirepb.GroupMessage
	unreachable [][]pinetree.GroupID
	changed     chan struct{} // closed and replaced at each change
}

// start runs node id. change, when not nil, edits its config.
func start(t *testing.T, b *book, id pinetree.NodeID, change func(*node, *Config)) *node {
	t.Helper()
	return startWith(t, b, id, nil, change)
}

// startWith is start with the server's credentials, plaintext when nil.
func startWith(t *testing.T, b *book, id pinetree.NodeID, protect credentials.TransportCredentials, change func(*node, *Config)) *node {
	t.Helper()
	n := &node{changed: make(chan struct{}), log: &lockedBuffer{}}
	cfg := Config{
		Cluster: "test", Node: id, Address: b.find, Deliver: n.deliver, Unreachable: n.lost,
		Logger: slog.New(slog.NewTextHandler(n.log, nil)),
	}
	if change != nil {
		change(n, &cfg)
	}
	n.Transport = New(cfg)
	n.server = grpc.NewServer(append(ServerOptions(), grpc.Creds(n.Credentials(protect)))...)
	wirepb.RegisterRaftTransportServer(n.server, n)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.addr = listener.Addr().String()
	b.set(id, n.addr)
	serving := make(chan struct{})
	go func() { defer close(serving); _ = n.server.Serve(listener) }()
	t.Cleanup(func() { n.stop(); <-serving })
	return n
}

func (n *node) stop() {
	_ = n.Close()
	n.server.Stop()
}

func (n *node) deliver(messages []wirepb.GroupMessage) {
	n.change(func() { n.received = append(n.received, messages...) })
}

func (n *node) lost(_ pinetree.NodeID, groups []pinetree.GroupID) {
	n.change(func() { n.unreachable = append(n.unreachable, groups) })
}

func (n *node) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

// await waits until the condition on what the node received holds.
func (n *node) await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	limit := time.After(patience)
	for {
		n.mu.Lock()
		ok, changed := holds(), n.changed
		n.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("%s: not within %s; log:\n%s", what, patience, n.log)
		}
	}
}

// indexes are those of the received messages of one type, in order.
func (n *node) indexes(kind raftpb.MessageType) []uint64 {
	var all []uint64
	for _, m := range n.received {
		if m.Message.GetType() == kind {
			all = append(all, m.Message.GetIndex())
		}
	}
	return all
}

// route is from whom to whom.
type route struct{ from, to pinetree.NodeID }

// message makes one of a type; its entry, if it is an append, has size bytes, which
// are no batches.
func (r route) message(kind raftpb.MessageType, index uint64, size int) wirepb.GroupMessage {
	m := &raftpb.Message{Type: &kind, From: new(uint64(r.from)), To: new(uint64(r.to)), Index: &index, Term: new(uint64(1))}
	if size > 0 {
		m.Entries = []*raftpb.Entry{{Index: new(index + 1), Term: new(uint64(1)), Data: bytes.Repeat([]byte{byte(index) | 0x80}, size)}}
	}
	return wirepb.GroupMessage{Group: pinetree.GroupID(index%3 + 1), Message: m}
}

// lockedBuffer is a log that tests read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
