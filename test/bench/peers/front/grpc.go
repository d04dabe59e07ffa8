package front

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	"github.com/pinetree-db/pinetree/test/bench/peers/load"
)

const (
	appendMethod = "/peers.Log/Append"
	windowBytes  = 16 << 20
	bufferBytes  = 256 << 10
	messageBytes = 64 << 20
)

// RawCodec sends bytes as they are, and writes what it receives to an
// io.Writer: one copy, as few as gRPC allows.
type RawCodec struct{}

// Name implements encoding.CodecV2.
func (RawCodec) Name() string { return "raw" }

// Marshal takes a mem.Buffer.
func (RawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(mem.Buffer)
	if !ok {
		return nil, fmt.Errorf("cannot send a %T", v)
	}
	return mem.BufferSlice{b}, nil
}

// Unmarshal takes an io.Writer.
func (RawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	w, ok := v.(io.Writer)
	if !ok {
		return fmt.Errorf("cannot receive into a %T", v)
	}
	for _, b := range data {
		if _, err := w.Write(b.ReadOnlyData()); err != nil {
			return err
		}
	}
	return nil
}

var _ encoding.CodecV2 = RawCodec{}

// framePool keeps outboxes until gRPC has sent them.
type framePool struct{ pool sync.Pool }

func (p *framePool) Get(int) *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, bufferBytes)
	return &b
}

func (p *framePool) Put(b *[]byte) {
	*b = (*b)[:0]
	p.pool.Put(b)
}

type grpcServer struct {
	server  *grpc.Server
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// listenGRPC serves a log at an address.
func listenGRPC(addr string, log Log) (Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &grpcServer{cancel: cancel, server: grpc.NewServer(
		grpc.ForceServerCodecV2(RawCodec{}),
		grpc.InitialWindowSize(windowBytes), grpc.InitialConnWindowSize(windowBytes),
		grpc.ReadBufferSize(bufferBytes), grpc.WriteBufferSize(bufferBytes),
		grpc.MaxRecvMsgSize(messageBytes), grpc.MaxSendMsgSize(messageBytes),
	)}
	s.server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "peers.Log",
		Streams: []grpc.StreamDesc{{
			StreamName: "Append", ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return s.serve(ctx, stream, log) },
		}},
	}, nil)
	s.running.Go(func() {
		if err := s.server.Serve(listener); err != nil && ctx.Err() == nil {
			slog.Error("the gRPC server ended", "error", err)
		}
	})
	return s, nil
}

// Close implements Server.
func (s *grpcServer) Close() error {
	s.cancel()
	s.server.Stop()
	s.running.Wait()
	return nil
}

// serve runs one stream. The receiver ends with the stream, that is after this
// function, so that the server waits for it and not the handler.
func (s *grpcServer) serve(ctx context.Context, stream grpc.ServerStream, log Log) error {
	q := NewQueue()
	defer context.AfterFunc(ctx, q.Close)()
	s.running.Go(func() {
		var err error
		for err == nil {
			err = stream.RecvMsg(q)
		}
		q.Close()
	})
	err := log.Serve(q, func(records uint64) error {
		return stream.SendMsg(mem.SliceBuffer(binary.LittleEndian.AppendUint64(nil, records)))
	})
	if err != nil && ctx.Err() == nil && stream.Context().Err() == nil {
		slog.Error("a stream ended", "error", err)
	}
	return err
}

// dialGRPC reaches a server of listenGRPC.
func dialGRPC(addr string, sink load.Sink) (load.Client, error) {
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(windowBytes), grpc.WithInitialConnWindowSize(windowBytes),
		grpc.WithReadBufferSize(bufferBytes), grpc.WithWriteBufferSize(bufferBytes),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(RawCodec{}), grpc.WaitForReady(true),
			grpc.MaxCallRecvMsgSize(messageBytes), grpc.MaxCallSendMsgSize(messageBytes),
		))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, appendMethod)
	if err != nil {
		cancel()
		return nil, errors.Join(err, conn.Close())
	}
	pool := &framePool{}
	c := newClient(sink, func(frames []byte) ([]byte, error) {
		err := stream.SendMsg(mem.NewBuffer(&frames, pool))
		return (*pool.Get(0))[:0], err
	})
	c.running.Go(func() { c.hear(func() (uint64, error) { return recvAck(stream) }) })
	c.hangUp = func() error {
		cancel()
		return conn.Close()
	}
	return c, nil
}

// ackBuffer receives one acknowledgement.
type ackBuffer struct {
	b [ackBytes]byte
	n int
}

func (a *ackBuffer) Write(p []byte) (int, error) {
	if len(p) > ackBytes-a.n {
		return 0, fmt.Errorf("an acknowledgement has %d bytes, not more", ackBytes)
	}
	a.n += copy(a.b[a.n:], p)
	return len(p), nil
}

func recvAck(stream grpc.ClientStream) (uint64, error) {
	var a ackBuffer
	if err := stream.RecvMsg(&a); err != nil {
		return 0, fmt.Errorf("the server ended the stream, its log says why: %w", err)
	}
	return binary.LittleEndian.Uint64(a.b[:]), nil
}
