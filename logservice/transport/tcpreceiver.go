package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// readAhead is how much of a lane is read at once beside what belongs to a frame:
// many small frames, and little of a large one, whose rest is read into its place.
const readAhead = 16 << 10

// Credentials makes a server's credentials of those that protect its connections,
// plaintext when nil: they keep the lanes of peers that come without gRPC from the
// server and receive from them, until Close.
func (t *Transport) Credentials(protect credentials.TransportCredentials) credentials.TransportCredentials {
	if protect == nil {
		protect = insecure.NewCredentials()
	}
	return &doorkeeper{protect, t}
}

// doorkeeper tells lanes from HTTP/2 by what they say first.
type doorkeeper struct {
	credentials.TransportCredentials
	transport *Transport
}

// Clone implements credentials.TransportCredentials.
func (d *doorkeeper) Clone() credentials.TransportCredentials {
	return &doorkeeper{d.TransportCredentials.Clone(), d.transport}
}

// ServerHandshake implements credentials.TransportCredentials. gRPC bounds its time,
// and closes the connection when it fails.
func (d *doorkeeper) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	stopped := context.AfterFunc(d.transport.ctx, func() { _ = raw.Close() })
	defer stopped()
	conn, info, err := d.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	first := make([]byte, len(Greeting))
	if _, err := io.ReadFull(conn, first); err != nil {
		return nil, nil, err
	}
	if string(first) != Greeting {
		return &begun{conn, first}, info, nil
	}
	peer, err := d.transport.answer(conn)
	if err != nil {
		hangUp(conn, err)
		return nil, nil, err
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(keepAlive) // without it, a lane of a peer that is gone is open for longer
	}
	if !d.transport.begin() {
		return nil, nil, d.transport.errStopped()
	}
	go d.transport.receiveTCP(peer, conn)
	return nil, nil, credentials.ErrConnDispatched
}

// begun is a connection of which the beginning was read.
type begun struct {
	net.Conn
	first []byte
}

// Read implements net.Conn.
func (b *begun) Read(to []byte) (int, error) {
	if len(b.first) == 0 {
		return b.Conn.Read(to)
	}
	n := copy(to, b.first)
	b.first = b.first[n:]
	return n, nil
}

// answer greets back, and tells who has called.
func (t *Transport) answer(conn net.Conn) (pinetree.NodeID, error) {
	said, err := readFrame(conn, maxWords)
	if err != nil {
		return 0, err
	}
	hello := &wirepb.RaftFrame{}
	if _, err := io.WriteString(conn, Greeting); err != nil {
		return 0, err
	}
	if err := proto.Unmarshal(said, hello); err != nil {
		return 0, fmt.Errorf("%w: the hello of a lane: %w", pinetree.ErrBadBatch, err)
	}
	return t.sender(hello)
}

// receiveTCP delivers one lane's frames until the peer goes away, a frame is
// refused, or the transport is closed.
func (t *Transport) receiveTCP(peer pinetree.NodeID, conn net.Conn) {
	defer t.running.Done()
	stopped := context.AfterFunc(t.ctx, func() { _ = conn.Close() })
	defer stopped()
	in := bufio.NewReaderSize(conn, readAhead)
	for {
		messages, err := readFrame(in, maxFrameBytes)
		if err == nil {
			err = t.deliver(peer, messages)
		}
		if err != nil {
			hangUp(conn, err)
			return
		}
	}
}

// hangUp tells the peer why, gives it the time to hear it, and closes the connection.
// To close it with something unread would make the peer's kernel forget the reason.
// gRPC takes the deadline of a connection away when it has given it out of its
// hands, perhaps only now, so the time is kept without one.
func hangUp(conn net.Conn, why error) {
	defer func() { _ = conn.Close() }()
	if _, lost := errors.AsType[net.Error](why); lost || errors.Is(why, io.EOF) || errors.Is(why, io.ErrUnexpectedEOF) {
		return // nobody is there any more
	}
	late := time.AfterFunc(lastWords, func() { _ = conn.Close() })
	defer late.Stop()
	if writeFrame(conn, [][]byte{wirepb.EncodeError(why)}) == nil {
		_, _ = io.Copy(io.Discard, conn) // until the peer closes, or its time is over
	}
}
