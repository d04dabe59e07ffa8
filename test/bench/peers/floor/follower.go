package floor

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/pinetree-db/pinetree/test/bench/peers/front"
	"github.com/pinetree-db/pinetree/test/bench/peers/replica"
)

// receiveBytes is the most that a follower saves at once.
const receiveBytes = 1 << 20

// Follower saves what the leader sends.
type Follower struct {
	file     *file
	listener net.Listener
	running  sync.WaitGroup
	records  atomic.Uint64

	mu     sync.Mutex
	leader net.Conn
	closed bool
}

func startFollower(cfg replica.Config, file *file) (*Follower, error) {
	listener, err := net.Listen("tcp", cfg.Peer())
	if err != nil {
		return nil, errors.Join(err, file.f.Close())
	}
	f := &Follower{file: file, listener: listener}
	f.running.Go(f.serve)
	return f, nil
}

// serve takes one connection: there is no other leader.
func (f *Follower) serve() {
	conn, err := f.listener.Accept()
	if err != nil {
		return // closed
	}
	front.Tune(conn)
	f.mu.Lock()
	f.leader = conn
	if f.closed {
		_ = conn.Close()
	}
	f.mu.Unlock()
	if err := f.receive(conn); !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		slog.Error("the connection of the leader ended", "error", err)
	}
	_ = conn.Close()
}

// receive saves whatever has arrived as one batch, wherever it ends, and
// answers with how many bytes are on disk.
func (f *Follower) receive(conn net.Conn) error {
	buf := make([]byte, receiveBytes)
	var counter front.Counter
	var saved uint64
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		if err := f.file.save(buf[:n]); err != nil {
			return err
		}
		counter.Add(buf[:n])
		f.records.Store(counter.Records)
		saved += uint64(n)
		if _, err := conn.Write(binary.LittleEndian.AppendUint64(nil, saved)); err != nil {
			return err
		}
	}
}

// Status implements replica.Replica.
func (f *Follower) Status() (replica.Status, error) {
	return replica.Status{Records: f.records.Load()}, nil
}

// Close implements replica.Replica.
func (f *Follower) Close() error {
	err := f.listener.Close()
	f.mu.Lock()
	f.closed = true
	if f.leader != nil {
		_ = f.leader.Close()
	}
	f.mu.Unlock()
	f.running.Wait()
	return errors.Join(err, f.file.f.Close())
}

// Start starts a server. The first is the leader.
func Start(cfg replica.Config) (replica.Replica, error) {
	file, err := createFile(cfg.Path("log"))
	if err != nil {
		return nil, err
	}
	if cfg.ID == 1 {
		return startLeader(cfg, file)
	}
	return startFollower(cfg, file)
}
