package front

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree/test/bench/peers/load"
)

const (
	dialTimeout = 10 * time.Second
	// socketBytes is asked for as the kernel's buffer in either direction.
	socketBytes = 4 << 20
)

type tcpServer struct {
	listener net.Listener
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// listenTCP serves a log at an address.
func listenTCP(addr string, log Log) (Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &tcpServer{listener: listener, cancel: cancel}
	s.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			s.running.Go(func() { serveTCP(ctx, conn, log) })
		}
	})
	return s, nil
}

// Close implements Server.
func (s *tcpServer) Close() error {
	s.cancel()
	err := s.listener.Close()
	s.running.Wait()
	return err
}

// serveTCP runs one connection: a receiver fills the queue until the connection
// ends, the log takes from it. The first of both to end ends the other.
func serveTCP(ctx context.Context, conn net.Conn, log Log) {
	Tune(conn)
	q := NewQueue()
	defer context.AfterFunc(ctx, q.Close)()
	var received error
	var receiver sync.WaitGroup
	receiver.Go(func() {
		for received == nil {
			received = q.Fill(conn.Read)
		}
		q.Close()
	})
	err := log.Serve(q, func(records uint64) error {
		var b [ackBytes]byte
		binary.LittleEndian.PutUint64(b[:], records)
		_, err := conn.Write(b[:])
		return err
	})
	_ = conn.Close() // ends the receiver
	receiver.Wait()
	if err != nil || !errors.Is(received, io.EOF) && ctx.Err() == nil {
		slog.Error("a connection ended", "log", err, "connection", received)
	}
}

// Tune sets the options that every raw connection of this module has: nothing
// waits to be sent, and the kernel buffers much.
func Tune(conn net.Conn) {
	if c, ok := conn.(*net.TCPConn); ok {
		// A kernel that gives less than it was asked for is as it is.
		_ = c.SetNoDelay(true)
		_ = c.SetReadBuffer(socketBytes)
		_ = c.SetWriteBuffer(socketBytes)
	}
}

// dialTCP reaches a server of listenTCP.
func dialTCP(addr string, sink load.Sink) (load.Client, error) {
	conn, err := net.DialTimeout("tcp", addr, dialTimeout)
	if err != nil {
		return nil, err
	}
	Tune(conn)
	c := newClient(sink, func(frames []byte) ([]byte, error) {
		_, err := conn.Write(frames)
		return frames[:0], err
	})
	answers := bufio.NewReaderSize(conn, 64<<10)
	c.running.Go(func() { c.hear(func() (uint64, error) { return lastAck(answers) }) })
	c.hangUp = conn.Close
	return c, nil
}

// lastAck reads the newest acknowledgement that has arrived, waiting for one.
func lastAck(r *bufio.Reader) (uint64, error) {
	var b [ackBytes]byte
	for {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return 0, fmt.Errorf("the server hung up, its log says why: %w", err)
		}
		if r.Buffered() < ackBytes {
			return binary.LittleEndian.Uint64(b[:]), nil
		}
	}
}
