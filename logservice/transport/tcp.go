package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Greeting is what both ends of a lane without gRPC say first. The caller goes on
// with a hello, a wirepb.RaftFrame with its cluster, itself and whom it calls, and
// then with messages in the encoding of wirepb.AppendGroupMessage:
//
//	caller: Greeting hello messages ...
//	called: Greeting [why it hangs up, as of wirepb.EncodeError]
//
// each with its length before it, in four bytes, little-endian. HTTP/2, which comes
// to the same port, begins with as many other bytes ("PRI * HTTP/2.0\r\n"). The 1 is
// the version of all this.
const Greeting = "PINETREE RAFT 1\n"

const (
	lengthBytes = 4
	// maxWords bounds the hello, and the reason for hanging up.
	maxWords = 64 << 10
	// lastWords is how long one end waits for the other to say, or to hear, why it
	// hung up.
	lastWords = time.Second
)

// keepAlive finds out within seconds that a peer is gone to which nothing is sent.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: time.Second, Count: int(deadAfter / time.Second)}

// Dialer makes connections that break when a peer is gone for seconds. They leave
// from the address from, if that is not nil.
func Dialer(from net.Addr) *net.Dialer {
	return &net.Dialer{
		LocalAddr: from, KeepAliveConfig: keepAlive,
		Control: func(_, _ string, raw syscall.RawConn) (err error) {
			failed := raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadAfter.Milliseconds()))
			})
			return errors.Join(err, failed)
		},
	}
}

// writeFrame writes the pieces with their length before them.
func writeFrame(to net.Conn, pieces [][]byte) error {
	size := 0
	for _, p := range pieces {
		size += len(p)
	}
	head := binary.LittleEndian.AppendUint32(nil, uint32(size))
	all := append(net.Buffers{head}, pieces...)
	if _, plain := to.(*net.TCPConn); plain {
		_, err := all.WriteTo(to) // one system call
		return err
	}
	_, err := to.Write(bytes.Join(all, nil)) // TLS encrypts every write by itself
	return err
}

// readFrame reads what writeFrame has written, of limit bytes at most.
func readFrame(from io.Reader, limit int) ([]byte, error) {
	var head [lengthBytes]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(head[:])
	if uint64(size) > uint64(limit) {
		return nil, fmt.Errorf("%w: a frame of %d bytes, at most %d are taken", pinetree.ErrBadBatch, size, limit)
	}
	body := make([]byte, size)
	_, err := io.ReadFull(from, body)
	return body, err
}

// tcpSession sends frames on a connection without gRPC.
type tcpSession struct {
	transport *Transport
	peer      pinetree.NodeID
	conn      net.Conn
	release   func() bool // of the transport's end

	// done is closed when the peer has hung up, and received is why.
	done     chan struct{}
	received error
}

// openTCP greets a peer and waits until it greets back, so that what does not speak
// this is found out before a message is lost on it.
func (t *Transport) openTCP(peer pinetree.NodeID) (session, error) {
	addr, err := t.address(peer)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(t.ctx, t.cfg.ConnectTimeout)
	defer cancel()
	conn, err := t.cfg.Connect(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("node %d at %s: %w", peer, addr, err)
	}
	s := &tcpSession{transport: t, peer: peer, conn: conn, done: make(chan struct{})}
	s.release = context.AfterFunc(t.ctx, func() { _ = conn.Close() })
	if err := s.greet(); err != nil {
		s.release()
		_ = conn.Close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, fmt.Errorf("node %d at %s did not greet back within %s", peer, addr, t.cfg.ConnectTimeout)
		}
		return nil, fmt.Errorf("node %d at %s did not greet back: it is of a build that knows raft messages over gRPC only (--transport stream), or one of the two uses TLS: %w", peer, addr, err)
	}
	t.running.Go(s.watch)
	return s, nil
}

func (s *tcpSession) greet() error {
	if err := s.conn.SetDeadline(time.Now().Add(s.transport.cfg.ConnectTimeout)); err != nil {
		return err
	}
	hello, err := proto.Marshal(&wirepb.RaftFrame{Cluster: s.transport.cfg.Cluster, From: uint64(s.transport.cfg.Node), To: uint64(s.peer)})
	if err != nil {
		return err
	}
	if _, err := io.WriteString(s.conn, Greeting); err != nil {
		return err
	}
	if err := writeFrame(s.conn, [][]byte{hello}); err != nil {
		return err
	}
	var answer [len(Greeting)]byte
	if _, err := io.ReadFull(s.conn, answer[:]); err != nil {
		return err
	}
	if string(answer[:]) != Greeting {
		return fmt.Errorf("it answered %q", answer)
	}
	return s.conn.SetDeadline(time.Time{})
}

// watch waits until the peer hangs up, so that it is noticed before the next frame
// is lost.
func (s *tcpSession) watch() {
	defer close(s.done)
	reason, err := readFrame(s.conn, maxWords)
	if err == nil {
		err = wirepb.DecodeError(reason)
	}
	s.received = fmt.Errorf("node %d hung up: %w", s.peer, err)
}

func (s *tcpSession) ended() <-chan struct{} { return s.done }

func (s *tcpSession) err() error { return s.received }

// send returns when the kernel has taken the frame.
func (s *tcpSession) send(messages []wirepb.GroupMessage) error {
	patience := s.transport.cfg.SendTimeout
	err := s.conn.SetWriteDeadline(time.Now().Add(patience))
	if err == nil {
		err = writeFrame(s.conn, wirepb.GatherGroupMessages(messages))
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("node %d took no frame for %s", s.peer, patience)
	}
	select {
	case <-s.done: // what the peer said tells more
		return s.received
	case <-time.After(lastWords):
		return fmt.Errorf("node %d: %w", s.peer, err)
	}
}

func (s *tcpSession) close() {
	s.release()
	_ = s.conn.Close()
	<-s.done
}
