package floor

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pinetree-db/pinetree/test/bench/peers/front"
	"github.com/pinetree-db/pinetree/test/bench/peers/replica"
)

// dialTimeout bounds the wait for the followers to listen.
const dialTimeout = 20 * time.Second

// errBusy: the positions of two connections cannot be told apart.
var errBusy = errors.New("the floor serves one connection in its life; start it anew for each load")

// Leader is the server that the load talks to.
type Leader struct {
	file      *file
	followers []net.Conn
	front     front.Server
	hearing   sync.WaitGroup
	served    atomic.Bool
	records   atomic.Uint64 // on the leader's own disk

	mu      sync.Mutex
	serving *front.Queue
	ack     func(records uint64) error
	failure error
	durable [replica.Count]uint64 // bytes on each server's disk
	sent    position
	unacked []position // ends of batches
}

// A position is the end of a batch, counted from the start.
type position struct{ bytes, records uint64 }

func startLeader(cfg replica.Config, file *file) (*Leader, error) {
	l := &Leader{file: file}
	for i, addr := range cfg.Peers {
		if replica.ID(i+1) == cfg.ID {
			continue
		}
		conn, err := dialFollower(addr)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("reach the follower at %s: %w", addr, err), l.Close())
		}
		l.followers = append(l.followers, conn)
		slot := len(l.followers)
		l.hearing.Go(func() { l.hear(slot, conn) })
	}
	var err error
	if l.front, err = front.Listen(cfg.Front, cfg.Client(), l); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// dialFollower waits until the follower listens.
func dialFollower(addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			front.Tune(conn)
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Serve implements front.Log: whatever has queued is one batch.
func (l *Leader) Serve(q *front.Queue, ack func(records uint64) error) error {
	if l.served.Swap(true) {
		return errBusy
	}
	l.mu.Lock()
	l.ack, l.serving = ack, q
	l.mu.Unlock()
	err := l.commit(q)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ack = nil
	return errors.Join(err, l.failure)
}

func (l *Leader) commit(q *front.Queue) error {
	for {
		b, ok := q.Take(0)
		if !ok {
			return nil
		}
		end := l.begin(b)
		for _, f := range l.followers {
			if _, err := f.Write(b.Frames); err != nil {
				return fmt.Errorf("send to a follower: %w", err)
			}
		}
		if err := l.file.save(b.Frames); err != nil {
			return fmt.Errorf("save: %w", err)
		}
		b.Release()
		l.records.Store(end.records)
		l.saved(0, end.bytes)
	}
}

// begin notes that a batch is under way, and returns its end.
func (l *Leader) begin(b front.Batch) position {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent.bytes += uint64(len(b.Frames))
	l.sent.records += uint64(b.Records)
	l.unacked = append(l.unacked, l.sent)
	return l.sent
}

// saved notes how much of the log is on one server's disk, and acknowledges
// what is on two.
func (l *Leader) saved(slot int, bytes uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.durable[slot] = bytes
	sorted := l.durable
	slices.Sort(sorted[:])
	quorum := sorted[1]
	n := 0
	for n < len(l.unacked) && l.unacked[n].bytes <= quorum {
		n++
	}
	if n == 0 || l.ack == nil {
		return
	}
	records := l.unacked[n-1].records
	l.unacked = l.unacked[n:]
	if err := l.ack(records); err != nil {
		l.fail(err)
	}
}

// fail ends the connection to the load. mu is held.
func (l *Leader) fail(err error) {
	if l.failure == nil {
		l.failure = err
	}
	if l.serving != nil {
		l.serving.Close()
	}
}

// hear reads what a follower has on disk until the connection ends.
func (l *Leader) hear(slot int, conn net.Conn) {
	r := bufio.NewReader(conn)
	var b [8]byte
	for {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.fail(fmt.Errorf("a follower hung up: %w", err))
			return
		}
		l.saved(slot, binary.LittleEndian.Uint64(b[:]))
	}
}

// Status implements replica.Replica.
func (l *Leader) Status() (replica.Status, error) {
	return replica.Status{Ready: true, Records: l.records.Load()}, nil
}

// Close implements replica.Replica.
func (l *Leader) Close() error {
	var err error
	if l.front != nil {
		err = l.front.Close()
	}
	for _, f := range l.followers {
		err = errors.Join(err, f.Close())
	}
	l.hearing.Wait()
	return errors.Join(err, l.file.f.Close())
}
