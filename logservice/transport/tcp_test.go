package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
	"github.com/pinetree-db/pinetree/test/authority"
)

// greeted is a connection to a node that was greeted with a hello.
func greeted(t *testing.T, n *node, hello *wirepb.RaftFrame) net.Conn {
	t.Helper()
	conn, err := Dialer(nil).DialContext(t.Context(), "tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	said, err := proto.Marshal(hello)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, Greeting); err != nil {
		t.Fatal(err)
	}
	if err := writeFrame(conn, [][]byte{said}); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len(Greeting))
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != Greeting {
		t.Fatalf("the answer is %q, %v", answer, err)
	}
	return conn
}

// refusedTCP is why a node refuses a frame that comes without gRPC.
func refusedTCP(t *testing.T, n *node, frame *wirepb.RaftFrame) error {
	t.Helper()
	conn := greeted(t, n, &wirepb.RaftFrame{Cluster: frame.Cluster, From: frame.From, To: frame.To})
	if err := writeFrame(conn, [][]byte{frame.Messages}); err != nil {
		t.Fatal(err)
	}
	reason, err := readFrame(conn, maxWords)
	if err != nil {
		t.Fatal(err)
	}
	return wirepb.DecodeError(reason)
}

func TestAFrameBeyondTheLimitIsRefusedUnread(t *testing.T) {
	n := start(t, &book{}, 2, nil)
	conn := greeted(t, n, &wirepb.RaftFrame{Cluster: "test", From: 1, To: 2})
	if _, err := conn.Write([]byte{0, 0, 0, 0xff}); err != nil {
		t.Fatal(err)
	}
	reason, err := readFrame(conn, maxWords)
	if err == nil {
		err = wirepb.DecodeError(reason)
	}
	if !errors.Is(err, pinetree.ErrBadBatch) || !strings.Contains(err.Error(), "4278190080 bytes") {
		t.Fatalf("want a refusal, got %v", err)
	}
}

// gRPC clears the deadline of a connection after it has given it away.
func TestWhoIsRefusedAndStaysIsLeft(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	caller, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = caller.Close() }()
	called, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan struct{})
	go func() { defer close(left); hangUp(called, pinetree.ErrBadBatch) }()
	for limit := time.After(patience); ; {
		select {
		case <-left:
			if reason, err := readFrame(caller, maxWords); err != nil || !errors.Is(wirepb.DecodeError(reason), pinetree.ErrBadBatch) {
				t.Errorf("the reason is %q, %v", reason, err)
			}
			return
		case <-limit:
			_ = called.Close()
			<-left
			t.Fatal("who was refused and stays is waited for")
		case <-time.After(10 * time.Millisecond):
			_ = called.SetDeadline(time.Time{}) // fails once it is closed
		}
	}
}

func TestAServerThatKnowsOnlyGRPCIsNamed(t *testing.T) {
	b := &book{}
	server := grpc.NewServer(ServerOptions()...)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-served })
	b.set(2, listener.Addr().String())
	sender := start(t, b, 1, nil)
	sender.Send(2, []wirepb.GroupMessage{route{1, 2}.message(raftpb.MsgApp, 1, 10)})
	sender.await(t, "the report", func() bool { return len(sender.unreachable) > 0 })
	eventually(t, "the way out in the log", func() bool { return strings.Contains(sender.log.String(), "--transport stream") })
}

// Who connects and says nothing, or little, holds up neither the others nor the end.
func TestSilentCallersAreLeft(t *testing.T) {
	b := &book{}
	n, sender := start(t, b, 2, nil), start(t, b, 1, nil)
	for _, said := range []string{"", Greeting[:5], Greeting, Greeting + "\x10\x00\x00\x00half"} {
		conn, err := Dialer(nil).DialContext(t.Context(), "tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := io.WriteString(conn, said); err != nil {
			t.Fatal(err)
		}
	}
	sender.Send(2, []wirepb.GroupMessage{route{1, 2}.message(raftpb.MsgApp, 1, 10)})
	n.await(t, "the message of one who speaks", func() bool { return len(n.received) == 1 })
	ended := make(chan struct{})
	go func() { defer close(ended); n.stop() }()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the end waits for callers who say nothing")
	}
}

// Both lanes and gRPC come to one port, protected alike.
func TestLanesShareThePortAndItsTLS(t *testing.T) {
	ours := authority.New(t)
	pair := ours.Loopback("node")
	own, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	server := credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{own}, ClientCAs: ours.Pool(), ClientAuth: tls.RequireAndVerifyClientCert})
	client := credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{own}, RootCAs: ours.Pool()})
	connect := func(ctx context.Context, address string) (net.Conn, error) {
		raw, err := Dialer(nil).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		conn, _, err := client.ClientHandshake(ctx, address, raw)
		return conn, err
	}
	b, r := &book{}, route{1, 2}
	receiver := startWith(t, b, 2, server, nil)
	for mode, name := range modes {
		sender := start(t, b, 1, func(_ *node, cfg *Config) {
			cfg.Mode, cfg.Connect, cfg.Dial = mode, connect, []grpc.DialOption{grpc.WithTransportCredentials(client)}
		})
		for i := range uint64(20) {
			sender.Send(2, []wirepb.GroupMessage{r.message(raftpb.MsgApp, i, 100_000), r.message(raftpb.MsgHeartbeat, i, 0)})
		}
		receiver.await(t, "messages by "+name, func() bool { return len(receiver.received) == 40 })
		receiver.change(func() { receiver.received = nil })
		sender.stop()
	}
	stranger := start(t, b, 1, nil) // without TLS
	stranger.Send(2, []wirepb.GroupMessage{r.message(raftpb.MsgApp, 1, 10)})
	stranger.await(t, "the report", func() bool { return len(stranger.unreachable) > 0 })
	eventually(t, "a hint in the log", func() bool { return strings.Contains(stranger.log.String(), "one of the two uses TLS") })
	if len(receiver.received) != 0 {
		t.Errorf("who came without TLS was heard: %v", receiver.received)
	}
}

func TestConnectionsToPeersThatAreGoneBreak(t *testing.T) {
	n := start(t, &book{}, 2, nil)
	conn := greeted(t, n, &wirepb.RaftFrame{Cluster: "test", From: 1, To: 2})
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[int]int{unix.TCP_USER_TIMEOUT: 3000, unix.TCP_KEEPIDLE: 10, unix.TCP_KEEPINTVL: 1, unix.TCP_KEEPCNT: 3} {
		var is int
		if failed := raw.Control(func(fd uintptr) { is, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, name) }); failed != nil || err != nil {
			t.Fatal(failed, err)
		}
		if is != want {
			t.Errorf("option %d is %d, want %d", name, is, want)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("\x04\x00\x00\x00wordrest"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Add([]byte("\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 10
		body, err := readFrame(bytes.NewReader(data), limit)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, pinetree.ErrBadBatch) {
				t.Fatalf("an error without a name: %v", err)
			}
			return
		}
		ours, theirs := net.Pipe()
		go func() { defer func() { _ = ours.Close() }(); _ = writeFrame(ours, [][]byte{body}) }()
		again, err := io.ReadAll(theirs)
		if err != nil || len(body) > limit || !bytes.Equal(again, data[:len(again)]) || len(again) != lengthBytes+len(body) {
			t.Fatalf("read %q of %q, written %q, %v", body, data, again, err)
		}
	})
}
