package benchread

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/localcluster"
	"github.com/pinetree-db/pinetree/logservice/transport"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// echoService answers with what there is: Key with the key, Page with a page
// that is always the same.
type echoService struct {
	wirepb.UnimplementedReadsServer
	page []byte
}

// Key implements wirepb.ReadsServer.
func (echoService) Key(_ context.Context, q *wirepb.KeyRequest) (*wirepb.KeyResponse, error) {
	return &wirepb.KeyResponse{Value: q.Key}, nil
}

// Page implements wirepb.ReadsServer.
func (s echoService) Page(context.Context, *wirepb.PageRequest) (*wirepb.PageResponse, error) {
	return &wirepb.PageResponse{Page: s.page}, nil
}

// ServeEcho serves the bare service with a node's options of gRPC until ctx
// ends.
func ServeEcho(ctx context.Context, listen string, pageBytes int) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	s := echoService{page: make([]byte, pageBytes)}
	_, _ = rand.Read(s.page) // never fails
	server := grpc.NewServer(transport.ServerOptions()...)
	wirepb.RegisterReadsServer(server, s)
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	return server.Serve(listener)
}

// echoTimeout bounds the start of the process that serves the echo.
const echoTimeout = 10 * time.Second

// echo is the bare service in a process of its own, and the connection to it.
type echo struct {
	process *localcluster.Process
	conn    *grpc.ClientConn
	reads   wirepb.ReadsClient
	page    []byte
}

// startEcho starts the process; its log goes to a directory.
func startEcho(ctx context.Context, dir string, pageBytes int) (*echo, error) {
	p, err := localcluster.NewChild(dir, "echo", "bench", "echo", "--page-size", fmt.Sprint(pageBytes))
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	e := &echo{process: p, page: make([]byte, pageBytes)}
	_, _ = rand.Read(e.page) // never fails
	// As the client's connections are.
	e.conn, err = grpc.NewClient("passthrough:///"+p.Addr, append(wirepb.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithInitialWindowSize(4<<20), grpc.WithInitialConnWindowSize(16<<20))...)
	if err != nil {
		return nil, e.closed(err)
	}
	e.reads = wirepb.NewReadsClient(e.conn)
	ctx, cancel := context.WithTimeout(ctx, echoTimeout)
	defer cancel()
	if _, err := e.reads.Page(ctx, &wirepb.PageRequest{}, grpc.WaitForReady(true)); err != nil {
		return nil, e.closed(fmt.Errorf("the echo does not answer: %w", err))
	}
	return e, nil
}

func (e *echo) closed(err error) error {
	if closeErr := e.close(); err == nil {
		err = closeErr
	}
	return err
}

func (e *echo) close() error {
	if e.conn != nil {
		_ = e.conn.Close() // fails only when it was closed before
	}
	return e.process.Stop()
}

// there sends as many bytes as a page has there and back.
func (e *echo) there(ctx context.Context) error {
	a, err := e.reads.Key(ctx, &wirepb.KeyRequest{Key: e.page})
	if err == nil && len(a.Value) != len(e.page) {
		err = fmt.Errorf("%w: the echo of %d bytes has %d", pinetree.ErrCorrupt, len(e.page), len(a.Value))
	}
	return err
}

// fetch asks for as many bytes as a page has.
func (e *echo) fetch(ctx context.Context) error {
	a, err := e.reads.Page(ctx, &wirepb.PageRequest{Volume: 1, Page: 1})
	if err == nil && len(a.Page) != len(e.page) {
		err = fmt.Errorf("%w: %d bytes of the echo instead of %d", pinetree.ErrCorrupt, len(a.Page), len(e.page))
	}
	return err
}
