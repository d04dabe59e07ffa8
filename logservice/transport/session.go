package transport

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

const (
	// streamWindow is how much of a lane may be under way and not yet taken by
	// a slow peer; it covers 1 GB/s at a round trip of 4 ms.
	streamWindow = 4 << 20
	// connWindow leaves room for the streams of a few busy clients.
	connWindow = 16 << 20
	// maxFrameBytes bounds what is received. A frame is larger than frameBytes
	// only for one message with one raft entry, a few batches of at most 8 MiB.
	maxFrameBytes = 64 << 20
	// deadAfter is how long sent bytes may stay unacknowledged by the peer's
	// kernel before the connection counts as broken: after a partition that
	// swallowed them, TCP by itself would take minutes to try again.
	deadAfter = 3 * time.Second
)

// DialOptions are the options of connections between nodes, without TLS.
func DialOptions() []grpc.DialOption {
	return append(wirepb.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxFrameBytes), grpc.MaxCallSendMsgSize(maxFrameBytes)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: deadAfter}),
	)
}

// ServerOptions are what a server of a node must be made with so that frames,
// shipped batches and keepalives of their full size and rate are accepted.
func ServerOptions() []grpc.ServerOption {
	return append(wirepb.ServerOptions(),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connWindow),
		grpc.MaxRecvMsgSize(maxFrameBytes),
		grpc.MaxSendMsgSize(maxFrameBytes),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: deadAfter}),
	)
}

// session is a connection of one lane, which the lane's goroutine owns. Lanes do
// not share connections: on a shared one a heartbeat would wait in the socket
// behind megabytes of appends.
type session interface {
	// send sends one frame, and returns when there is room for the next.
	send([]wirepb.GroupMessage) error
	// ended is closed when the peer has ended the session; err tells why, after
	// that. A nil channel is that of a session that cannot tell.
	ended() <-chan struct{}
	err() error
	// close ends the session and waits for its goroutine.
	close()
}

// open connects a lane to its peer within the connect timeout.
func (t *Transport) open(peer pinetree.NodeID) (session, error) {
	if t.cfg.Mode == ModeTCP {
		return t.openTCP(peer)
	}
	return t.openGRPC(peer)
}

// address tells where a peer listens.
func (t *Transport) address(peer pinetree.NodeID) (string, error) {
	addr, known := t.cfg.Address(peer)
	if !known {
		return "", fmt.Errorf("node %d: %w", peer, errNoAddress)
	}
	return addr, nil
}

var errNoAddress = errors.New("the cluster manager has not told this node's address yet")
