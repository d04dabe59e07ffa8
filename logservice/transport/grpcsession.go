package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// grpcSession sends frames on a stream, or by calls when the mode is unary.
type grpcSession struct {
	transport *Transport
	peer      pinetree.NodeID
	conn      *grpc.ClientConn
	stream    wirepb.RaftTransport_StreamClient // nil in unary mode
	first     bool                              // no frame was sent on the stream

	ctx    context.Context
	cancel context.CancelCauseFunc
	// done is closed when the stream has ended, and received is why.
	done     chan struct{}
	received error
}

// connect makes a connection of its own to a peer, which the caller closes.
func (t *Transport) connect(peer pinetree.NodeID) (conn *grpc.ClientConn, addr string, err error) {
	if addr, err = t.address(peer); err != nil {
		return nil, "", err
	}
	options := append(DialOptions(), t.cfg.Dial...)
	options = append(options, grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: t.cfg.ConnectTimeout}))
	if conn, err = grpc.NewClient("passthrough:///"+addr, options...); err != nil {
		return nil, "", fmt.Errorf("node %d at %q: %w", peer, addr, err)
	}
	return conn, addr, nil
}

func (t *Transport) openGRPC(peer pinetree.NodeID) (session, error) {
	conn, addr, err := t.connect(peer)
	if err != nil {
		return nil, err
	}
	s := &grpcSession{transport: t, peer: peer, conn: conn, first: true, done: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancelCause(t.ctx)
	if t.cfg.Mode == ModeUnary {
		return s, nil
	}
	late := time.AfterFunc(t.cfg.ConnectTimeout, func() {
		s.cancel(fmt.Errorf("node %d at %s: no connection within %s", peer, addr, t.cfg.ConnectTimeout))
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
func (s *grpcSession) watch() {
	defer close(s.done)
	s.received = s.cause(s.stream.RecvMsg(&wirepb.RaftReply{}))
}

// send sends one frame, in unary mode until it is delivered, otherwise until
// gRPC's window has room for it.
func (s *grpcSession) send(messages []wirepb.GroupMessage) error {
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

func (s *grpcSession) ended() <-chan struct{} { return s.done }

// err is why the stream has ended. It may be called once done is closed.
func (s *grpcSession) err() error {
	if s.received == nil {
		return fmt.Errorf("node %d ended the stream", s.peer)
	}
	return s.received
}

// cause prefers our own reason for ending the session to gRPC's "canceled".
func (s *grpcSession) cause(err error) error {
	if err == nil {
		return nil
	}
	if own := context.Cause(s.ctx); own != nil {
		return own
	}
	return fmt.Errorf("node %d: %w", s.peer, wirepb.FromError(err))
}

func (s *grpcSession) close() {
	s.cancel(context.Canceled)
	_ = s.conn.Close()
	if s.stream != nil {
		<-s.done
	}
}
