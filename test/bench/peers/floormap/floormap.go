// Package floormap is the least that a read over gRPC can be: values in the memory
// of one process, found by their number, behind a unary call whose messages nobody
// marshals. It replicates nothing, asks nobody whether it may answer, and keeps
// nothing.
package floormap

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"

	"github.com/pinetree-db/pinetree/test/bench/peers/front"
	"github.com/pinetree-db/pinetree/test/bench/peers/load"
	"github.com/pinetree-db/pinetree/test/bench/peers/replica"
)

const (
	getMethod, putMethod = "/peers.Map/Get", "/peers.Map/Put"
	numberBytes          = 8
	windowBytes          = 16 << 20
	// maxNumber bounds the numbers that a server takes.
	maxNumber = 1 << 20
)

// message is what a call receives.
type message struct{ bytes.Buffer }

func (m *message) number() (int, error) {
	if m.Len() < numberBytes {
		return 0, fmt.Errorf("%d bytes, a number has %d", m.Len(), numberBytes)
	}
	n := binary.BigEndian.Uint64(m.Next(numberBytes))
	if n >= maxNumber {
		return 0, fmt.Errorf("number %d: they are below %d", n, maxNumber)
	}
	return int(n), nil
}

// Server is one process with values.
type Server struct {
	server  *grpc.Server
	ready   bool
	serving sync.WaitGroup

	mu     sync.RWMutex
	values map[int][]byte
}

// Start starts a server. The first one is talked to, and all are filled.
func Start(cfg replica.Config) (replica.Replica, error) {
	listener, err := net.Listen("tcp", cfg.Client())
	if err != nil {
		return nil, err
	}
	s := &Server{ready: cfg.ID == 1, values: map[int][]byte{}}
	s.server = grpc.NewServer(grpc.ForceServerCodecV2(front.RawCodec{}), grpc.InitialWindowSize(windowBytes), grpc.InitialConnWindowSize(windowBytes))
	method := func(name string, do func(*message) (mem.Buffer, error)) grpc.MethodDesc {
		return grpc.MethodDesc{MethodName: name, Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var m message
			if err := decode(&m); err != nil {
				return nil, err
			}
			return do(&m)
		}}
	}
	s.server.RegisterService(&grpc.ServiceDesc{ServiceName: "peers.Map", Methods: []grpc.MethodDesc{method("Get", s.get), method("Put", s.put)}}, nil)
	s.serving.Go(func() {
		if err := s.server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			slog.Error("the gRPC server ended", "error", err)
		}
	})
	return s, nil
}

func (s *Server) get(m *message) (mem.Buffer, error) {
	number, err := m.number()
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	value, ok := s.values[number]
	if !ok {
		return nil, fmt.Errorf("there is no value %d", number)
	}
	return mem.SliceBuffer(value), nil
}

func (s *Server) put(m *message) (mem.Buffer, error) {
	number, err := m.number()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[number] = bytes.Clone(m.Bytes())
	return mem.SliceBuffer(nil), nil
}

// Status implements replica.Replica.
func (s *Server) Status() (replica.Status, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return replica.Status{Ready: s.ready, Records: uint64(len(s.values))}, nil
}

// Close implements replica.Replica.
func (s *Server) Close() error {
	s.server.Stop()
	s.serving.Wait()
	return nil
}

// reader reads from the first of the servers and fills all of them.
type reader struct{ conns []*grpc.ClientConn }

// DialReader reaches servers; the first one answers reads.
func DialReader(addrs []string) (load.Reader, error) {
	var r reader
	for _, addr := range addrs {
		conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(front.RawCodec{})), grpc.WithInitialWindowSize(windowBytes), grpc.WithInitialConnWindowSize(windowBytes))
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		r.conns = append(r.conns, conn)
	}
	return r, nil
}

func call(ctx context.Context, conn *grpc.ClientConn, method string, number int, value []byte) ([]byte, error) {
	request := append(binary.BigEndian.AppendUint64(make([]byte, 0, numberBytes+len(value)), uint64(number)), value...)
	var answer message
	if err := conn.Invoke(ctx, method, mem.SliceBuffer(request), &answer, grpc.WaitForReady(true)); err != nil {
		return nil, err
	}
	return answer.Bytes(), nil
}

// Fill implements load.Reader.
func (r reader) Fill(ctx context.Context, values [][]byte) error {
	for _, conn := range r.conns {
		for i, value := range values {
			if _, err := call(ctx, conn, putMethod, i, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// Read implements load.Reader.
func (r reader) Read(ctx context.Context, number int) ([]byte, error) {
	return call(ctx, r.conns[0], getMethod, number, nil)
}

// Close implements load.Reader.
func (r reader) Close() error {
	var failed error
	for _, conn := range r.conns {
		failed = errors.Join(failed, conn.Close())
	}
	return failed
}
