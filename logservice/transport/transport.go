package transport

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Mode tells how frames travel.
type Mode uint8

const (
	// ModeTCP sends each lane's frames on a connection without gRPC, which shares
	// the port of the server and its TLS (see Greeting), for less CPU time than
	// ModeStream.
	ModeTCP Mode = iota
	// ModeStream sends each lane's frames on one gRPC stream, without waiting for
	// answers, for networks that let nothing but HTTP/2 pass.
	ModeStream
	// ModeUnary sends each frame as a call of its own and waits for it to be
	// delivered, for networks that break long streams.
	ModeUnary
)

// Config of a Transport. Cluster, Node, Address and Deliver are required; zero
// values elsewhere stand for the defaults.
type Config struct {
	// Cluster is the cluster's id. Frames of another one are refused.
	Cluster string
	// Node is this node. Frames and messages for another one are refused: it
	// may have had this address before.
	Node pinetree.NodeID
	// Address tells where a peer listens, false when that is not known. It is
	// asked anew for each connection.
	Address func(pinetree.NodeID) (string, bool)
	// Deliver takes the messages of one frame, in order, and owns them. It is
	// called from several goroutines. While it blocks, the sender's lane waits;
	// it must return soon once the node is stopping, because Close waits for it.
	Deliver func([]wirepb.GroupMessage)
	// Unreachable, when set, is told once per failure which groups may have
	// lost messages to a peer, so that raft stops sending them blindly. It is
	// called by the goroutine of a lane and should not block.
	Unreachable func(peer pinetree.NodeID, groups []pinetree.GroupID)
	// TakeSnapshot takes in the state that comes with a MsgSnap from a peer and
	// gives the message to raft; an error says that it did not. next returns the
	// chunks in order, each checked and the taker's own, and io.EOF after the
	// last one; any other error ends the snapshot. ctx ends when the sender goes
	// away, the snapshot stalls or the transport is closed. One snapshot is
	// taken at a time; without TakeSnapshot all are refused.
	TakeSnapshot func(ctx context.Context, from pinetree.NodeID, m wirepb.GroupMessage, next func() ([]byte, error)) error

	// Mode is how this node sends. It receives in every mode.
	Mode Mode
	// Urgent and Bulk bound the queues of each peer's lanes.
	Urgent, Bulk QueueLimits
	// ConnectTimeout bounds the making of a connection; default 1 s.
	ConnectTimeout time.Duration
	// SendTimeout is how long a frame may wait for a slow peer before the
	// connection is given up; default 5 s.
	SendTimeout time.Duration
	// Snapshots bounds what snapshots take of this node.
	Snapshots SnapshotLimits
	// Dial adds to DialOptions, for credentials.
	Dial []grpc.DialOption
	// Connect makes the connections of ModeTCP, by a Dialer and with the same
	// credentials; plaintext when nil.
	Connect func(ctx context.Context, address string) (net.Conn, error)
	Logger  *slog.Logger
}

// QueueLimits bound a queue of messages. One message always fits.
type QueueLimits struct {
	MaxMessages int
	MaxBytes    int
}

// The default limits. Urgent messages are small and come in waves, one for
// each group; bulk ones are what a peer may lag before raft must repair.
var (
	DefaultUrgent = QueueLimits{MaxMessages: 65536, MaxBytes: 8 << 20}
	DefaultBulk   = QueueLimits{MaxMessages: 16384, MaxBytes: 64 << 20}
)

// Transport sends and receives raft messages. Any number of goroutines may
// call its methods. It implements wirepb.RaftTransportServer; register it with
// a server made with ServerOptions and with Credentials of this transport.
type Transport struct {
	wirepb.UnimplementedRaftTransportServer
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	// running counts the goroutines of lanes and of those that receive, and the
	// calls of SendSnapshot.
	running sync.WaitGroup

	snapshots *snapshots

	mu     sync.Mutex
	closed bool
	peers  map[pinetree.NodeID]*peer
}

// peer is one other node: a lane for what must not wait, and one for appends.
type peer struct{ urgent, bulk *lane }

// New makes a transport. It connects to a peer when there is something to send.
func New(cfg Config) *Transport {
	cfg.Urgent.MaxMessages = cmp.Or(cfg.Urgent.MaxMessages, DefaultUrgent.MaxMessages)
	cfg.Urgent.MaxBytes = cmp.Or(cfg.Urgent.MaxBytes, DefaultUrgent.MaxBytes)
	cfg.Bulk.MaxMessages = cmp.Or(cfg.Bulk.MaxMessages, DefaultBulk.MaxMessages)
	cfg.Bulk.MaxBytes = cmp.Or(cfg.Bulk.MaxBytes, DefaultBulk.MaxBytes)
	cfg.ConnectTimeout = cmp.Or(cfg.ConnectTimeout, time.Second)
	cfg.SendTimeout = cmp.Or(cfg.SendTimeout, 5*time.Second)
	if cfg.Connect == nil {
		cfg.Connect = func(ctx context.Context, address string) (net.Conn, error) {
			return Dialer(nil).DialContext(ctx, "tcp", address)
		}
	}
	if cfg.Unreachable == nil {
		cfg.Unreachable = func(pinetree.NodeID, []pinetree.GroupID) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	t := &Transport{cfg: cfg, peers: map[pinetree.NodeID]*peer{}, snapshots: newSnapshots(cfg.Snapshots)}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// Send queues messages for a peer, in order, each in its lane. It never
// blocks: what does not fit is dropped and counted, as is everything after
// Close. The messages must not be changed afterwards; the slice may be reused.
func (t *Transport) Send(to pinetree.NodeID, messages []wirepb.GroupMessage) {
	p := t.peer(to)
	if p == nil {
		return
	}
	for _, m := range messages {
		if urgent(m.Message.GetType()) {
			p.urgent.put(m)
		} else {
			p.bulk.put(m)
		}
	}
	p.urgent.signal()
	p.bulk.signal()
}

// peer gives the lanes to a node, nil after Close.
func (t *Transport) peer(to pinetree.NodeID) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	p, known := t.peers[to]
	if !known {
		p = &peer{
			urgent: newLane(t, laneID{peer: to, name: "urgent"}, t.cfg.Urgent),
			bulk:   newLane(t, laneID{peer: to, name: "bulk"}, t.cfg.Bulk),
		}
		t.peers[to] = p
		t.running.Go(p.urgent.run)
		t.running.Go(p.bulk.run)
	}
	return p
}

// Close ends all lanes and everything that receives, drops what is queued, and
// returns once every goroutine has ended. Calling it again does nothing.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.cancel()
	t.running.Wait()
	return nil
}

// LaneStats is what one lane to one peer has done. The counts rise from the
// start of the process.
type LaneStats struct {
	Peer           pinetree.NodeID `json:"peer"`
	Lane           string          `json:"lane"`
	Connected      bool            `json:"connected"`
	QueuedMessages int             `json:"queued_messages"`
	QueuedBytes    int             `json:"queued_bytes"`
	SentFrames     uint64          `json:"sent_frames"`
	SentMessages   uint64          `json:"sent_messages"`
	SentBytes      uint64          `json:"sent_bytes"`
	// DroppedFull are messages that found the queue full, DroppedDown those
	// that were lost with a connection or for want of one.
	DroppedFull uint64 `json:"dropped_full"`
	DroppedDown uint64 `json:"dropped_down"`
	Failures    uint64 `json:"failures"`
}

// Stats tells what every lane has done, ordered by peer.
func (t *Transport) Stats() []LaneStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []LaneStats
	for _, p := range t.peers {
		all = append(all, p.urgent.snapshot(), p.bulk.snapshot())
	}
	slices.SortFunc(all, func(a, b LaneStats) int {
		return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(b.Lane, a.Lane))
	})
	return all
}
