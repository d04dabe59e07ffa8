package wirepb

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/pinetree-db/pinetree"
)

// typedErrors are the errors with fields, each with a value in every field.
var typedErrors = []error{
	&pinetree.StaleComputeTermError{Volume: 7, Term: 9, Durable: 0x1_0000_0010},
	&pinetree.NotLeaderError{Group: 3, Leader: 2, Addr: "127.0.0.1:7001"},
	&pinetree.NotLeaderError{Group: 3},
	&pinetree.TruncatedError{Volume: 7, Asked: 10, First: 1 << 40},
	&pinetree.CorruptError{Where: "segment 4, offset 512", What: "CRC32C is wrong"},
}

func TestEverySentinelHasARow(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Err") {
			declared++
		}
		return true
	})
	reasons, sentinels := map[string]bool{}, map[error]bool{}
	for _, row := range errorTable {
		reasons[row.reason], sentinels[row.sentinel] = true, true
	}
	if declared == 0 || declared != len(sentinels) || len(reasons) != len(errorTable) {
		t.Fatalf("the root package declares %d sentinels; the table has %d of them under %d reasons: each needs one row of its own", declared, len(sentinels), len(reasons))
	}
}

func TestEveryErrorIsItselfAfterTheWire(t *testing.T) {
	client := serveErrors(t)
	for _, row := range errorTable {
		sent := fmt.Errorf("volume 7, batch (0/0, 0/10]: %w", row.sentinel)
		got := client.call(t, sent)
		if !errors.Is(got, row.sentinel) || got.Error() != sent.Error() || status.Code(got) != row.code {
			t.Errorf("sent %v (%s), received %v (%s)", sent, row.code, got, status.Code(got))
		}
		for _, other := range errorTable {
			if other.sentinel != row.sentinel && errors.Is(got, other.sentinel) {
				t.Errorf("%v is also %v", got, other.sentinel)
			}
		}
		if Unreachable(got) {
			t.Errorf("%v is taken for a server that was not reached", got)
		}
	}
	for _, typed := range typedErrors {
		for _, sent := range []error{typed, fmt.Errorf("wrapped: %w", typed)} {
			got := client.call(t, sent)
			target := reflect.New(reflect.TypeOf(typed))
			if !errors.As(got, target.Interface()) || !reflect.DeepEqual(target.Elem().Interface(), typed) || got.Error() != sent.Error() {
				t.Errorf("sent %#v, received %#v", sent, got)
			}
		}
	}
}

func TestAnErrorPassedOnArrivesUnchanged(t *testing.T) {
	client := serveErrors(t)
	first := client.call(t, typedErrors[0])
	second := client.call(t, first)
	stale, ok := errors.AsType[*pinetree.StaleComputeTermError](second)
	if !ok || *stale != *typedErrors[0].(*pinetree.StaleComputeTermError) || second.Error() != first.Error() {
		t.Fatalf("received %v, then %v", first, second)
	}
	wrapped := client.call(t, fmt.Errorf("forwarded: %w", first))
	if !errors.Is(wrapped, pinetree.ErrStaleComputeTerm) || wrapped.Error() != "forwarded: "+first.Error() {
		t.Fatalf("received %v", wrapped)
	}
}

func TestSeveralSentinelsAllArrive(t *testing.T) {
	got := serveErrors(t).call(t, errors.Join(pinetree.ErrNotFound, pinetree.ErrDiskFull))
	if !errors.Is(got, pinetree.ErrNotFound) || !errors.Is(got, pinetree.ErrDiskFull) || status.Code(got) != codes.ResourceExhausted {
		t.Fatalf("received %v", got)
	}
}

func TestContextErrorsCrossTheWire(t *testing.T) {
	client := serveErrors(t)
	for sent, code := range map[error]codes.Code{context.DeadlineExceeded: codes.DeadlineExceeded, context.Canceled: codes.Canceled} {
		if got := client.call(t, fmt.Errorf("waiting: %w", sent)); !errors.Is(got, sent) || status.Code(got) != code {
			t.Errorf("sent %v, received %v", sent, got)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	if _, err := client.Page(ctx, &PageRequest{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("gRPC's own deadline came as %v", err)
	}
}

func TestForeignErrorsKeepTheirCode(t *testing.T) {
	client := serveErrors(t)
	for _, sent := range []error{errors.New("plain"), io.ErrUnexpectedEOF} {
		if got := client.call(t, sent); status.Code(got) != codes.Unknown || !strings.Contains(got.Error(), sent.Error()) {
			t.Errorf("sent %v, received %v", sent, got)
		}
	}
	if got := client.call(t, fmt.Errorf("peer: %w", status.Error(codes.PermissionDenied, "no"))); status.Code(got) != codes.PermissionDenied {
		t.Errorf("received %v", got)
	}
	if got := client.call(t, fmt.Errorf("key %q \xff: %w", "a", pinetree.ErrNotFound)); !errors.Is(got, pinetree.ErrNotFound) {
		t.Errorf("a message that is not UTF-8 lost its reason: %v", got)
	}
	if Error(nil) != nil || FromError(nil) != nil || FromError(io.EOF) != io.EOF {
		t.Error("nil and EOF must pass")
	}
	client.stop()
	if _, err := client.Page(context.Background(), &PageRequest{}); !Unreachable(err) {
		t.Errorf("a stopped server gave %v", err)
	}
}

// errorClient calls a server over loopback whose methods fail as asked.
type errorClient struct {
	ReadsClient
	fail chan error
	stop func()
}

type errorServer struct {
	UnimplementedReadsServer
	fail chan error
}

func (s errorServer) Page(context.Context, *PageRequest) (*PageResponse, error) {
	return nil, <-s.fail
}

func (s errorServer) Tail(_ *TailRequest, stream grpc.ServerStreamingServer[TailResponse]) error {
	if err := stream.Send(&TailResponse{AppliedLsn: 1}); err != nil {
		return err
	}
	return <-s.fail
}

func serveErrors(t *testing.T) errorClient {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(UnaryServerErrors), grpc.StreamInterceptor(StreamServerErrors))
	fail := make(chan error, 1)
	RegisterReadsServer(server, errorServer{fail: fail})
	go func() { _ = server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(UnaryClientErrors), grpc.WithStreamInterceptor(StreamClientErrors))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); server.Stop() })
	return errorClient{ReadsClient: NewReadsClient(conn), fail: fail, stop: server.Stop}
}

// call has the server fail with sent, once in a unary call and once in the
// middle of a stream, checks that both come out the same, and returns it.
func (c errorClient) call(t *testing.T, sent error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c.fail <- sent
	_, unary := c.Page(ctx, &PageRequest{})
	stream, err := c.Tail(ctx, &TailRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	c.fail <- sent
	_, streamed := stream.Recv()
	if unary == nil || streamed == nil || unary.Error() != streamed.Error() || status.Code(unary) != status.Code(streamed) {
		t.Fatalf("sent %v, a unary call gave %v, a stream %v", sent, unary, streamed)
	}
	return unary
}
