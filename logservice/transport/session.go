package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// session is a connection of one lane, and its stream unless the mode is
// unary. Lanes do not share connections: on a shared one a heartbeat would
// wait in the socket behind megabytes of appends. The lane's goroutine owns it.
type session struct {
	transport *Transport
	laneID
	conn   *grpc.ClientConn
	stream wirepb.RaftTransport_StreamClient // nil in unary mode
	first  bool                              // no frame was sent on the stream
	opened time.Time

	ctx    context.Context
	cancel context.CancelCauseFunc
	// done is closed when the stream has ended, and received is why.
	done     chan struct{}
	received error
}

// connect makes a connection of its own to a peer, which the caller closes.
func (t *Transport) connect(peer pinetree.NodeID) (conn *grpc.ClientConn, addr string, err error) {
	addr, known := t.cfg.Address(peer)
	if !known {
		return nil, "", fmt.Errorf("node %d: %w", peer, errNoAddress)
	}
	options := append(DialOptions(), t.cfg.Dial...)
	options = append(options, grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: t.cfg.ConnectTimeout}))
	if conn, err = grpc.NewClient("passthrough:///"+addr, options...); err != nil {
		return nil, "", fmt.Errorf("node %d at %q: %w", peer, addr, err)
	}
	return conn, addr, nil
}

// open connects a lane to its peer within the connect timeout.
func (t *Transport) open(id laneID) (*session, error) {
	conn, addr, err := t.connect(id.peer)
	if err != nil {
		return nil, err
	}
	s := &session{
		transport: t, laneID: id, conn: conn,
		first: true, opened: time.Now(), done: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancelCause(t.ctx)
	if t.cfg.Mode == ModeUnary {
		return s, nil
	}
	late := time.AfterFunc(t.cfg.ConnectTimeout, func() {
		s.cancel(fmt.Errorf("node %d at %s: no connection within %s", id.peer, addr, t.cfg.ConnectTimeout))
	})
	s.stream, err = wirepb.NewRaftTransportClient(conn).Stream(s.ctx, wirepb.StreamOptions()...)
	if !late.Stop() && err == nil {
		err = context.Cause(s.ctx)
	}
	if err != nil {
		cause := s.cause(err)
		s.cancel(cause)
		_ = conn.Close()
		return nil, cause
	}
	t.running.Go(s.watch)
	return s, nil
}

// watch waits for the stream's end, so that a peer that went away is noticed
// before the next frame is lost on it.
func (s *session) watch() {
	defer close(s.done)
	s.received = s.cause(s.stream.RecvMsg(&wirepb.RaftReply{}))
}

// send sends one frame, in unary mode until it is delivered, otherwise until
// gRPC's window has room for it.
func (s *session) send(messages []wirepb.GroupMessage) error {
	frame := &wirepb.OutgoingFrame{Messages: messages}
	if s.first || s.stream == nil {
		frame.Cluster, frame.From, frame.To = s.transport.cfg.Cluster, s.transport.cfg.Node, s.peer
	}
	s.first = false
	late := time.AfterFunc(s.transport.cfg.SendTimeout, func() {
		s.cancel(fmt.Errorf("node %d took no frame for %s", s.peer, s.transport.cfg.SendTimeout))
	})
	defer late.Stop()
	if s.stream == nil {
		return s.cause(s.conn.Invoke(s.ctx, wirepb.RaftTransport_Deliver_FullMethodName, frame, &wirepb.RaftReply{}))
	}
	if err := s.stream.SendMsg(frame); err != nil {
		// io.EOF says only that the stream has ended; watch has the reason.
		if !errors.Is(err, io.EOF) {
			s.cancel(err)
		}
		<-s.done
		return s.err()
	}
	return nil
}

// err is why the stream has ended. It may be called once done is closed.
func (s *session) err() error {
	if s.received == nil {
		return fmt.Errorf("node %d ended the stream", s.peer)
	}
	return s.received
}

// cause prefers our own reason for ending the session to gRPC's "canceled".
func (s *session) cause(err error) error {
	if err == nil {
		return nil
	}
	if own := context.Cause(s.ctx); own != nil {
		return own
	}
	return fmt.Errorf("node %d: %w", s.peer, wirepb.FromError(err))
}

// close ends the session and waits for its goroutine.
func (s *session) close() {
	s.cancel(context.Canceled)
	_ = s.conn.Close()
	if s.stream != nil {
		<-s.done
	}
}
