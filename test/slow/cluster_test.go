package slow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/walengine"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/proto/wirepb"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/segment"
)

// member is one node: a host over its stores, each on a disk of its own.
type member struct {
	*host.Host
	log     raftlog.Store
	engines engine.Store
	// The brakes of the two disks.
	logDisk, engineDisk *brake
}

// cluster is hosts in this process. What they send goes through a goroutine and
// a bounded queue for each link, as on a network, so that no node works on
// another one's time.
type cluster struct {
	t       testing.TB
	options host.Options
	quit    chan struct{}
	links   sync.WaitGroup
	sent    atomic.Int64 // messages

	// snapshotPause is how long the network takes for a chunk of a snapshot.
	snapshotPause time.Duration

	mu      sync.Mutex
	members map[pinetree.NodeID]*member
	queues  map[link]chan []wirepb.GroupMessage
}

type link struct{ from, to pinetree.NodeID }

// fileBytes is small, because a file in memory is copied when it grows.
const fileBytes = 4 << 20

// linkQueue is how many sends a link takes before it drops.
const linkQueue = 4096

// all are the nodes that a cluster begins with.
var all = []pinetree.NodeID{1, 2, 3}

func newCluster(t testing.TB, o host.Options) *cluster {
	c := &cluster{
		t: t, options: o, quit: make(chan struct{}),
		members: map[pinetree.NodeID]*member{}, queues: map[link]chan []wirepb.GroupMessage{},
	}
	t.Cleanup(c.close)
	for _, id := range all {
		c.addNode(id)
	}
	return c
}

// addNode starts a node with empty disks.
func (c *cluster) addNode(id pinetree.NodeID) *member {
	c.t.Helper()
	m := &member{}
	fs, brake := slowDisk(c.t)
	log, err := segment.OpenFS(fs, segment.Options{SegmentBytes: fileBytes})
	if err != nil {
		c.t.Fatal(err)
	}
	m.log, m.logDisk = log, brake
	fs, m.engineDisk = slowDisk(c.t)
	engines, err := walengine.OpenFS(fs, walengine.Options{FileBytes: fileBytes})
	if err != nil {
		c.t.Fatal(err)
	}
	m.engines = engines
	m.Host, err = host.NewHost(host.Config{
		Node: id, Log: m.log, Engines: m.engines, Clock: lease.BootTime, Options: c.options, Logger: logger(),
		Send: func(to pinetree.NodeID, messages []wirepb.GroupMessage) { c.send(link{id, to}, messages) },
		SendSnapshot: func(ctx context.Context, to pinetree.NodeID, m wirepb.GroupMessage, chunks func(func([]byte) error) error) error {
			return c.sendSnapshot(ctx, link{id, to}, m, chunks)
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members[id] = m
	return m
}

func logger() *slog.Logger {
	var out io.Writer = io.Discard
	if testing.Verbose() {
		out = os.Stderr
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func (c *cluster) member(id pinetree.NodeID) *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.members[id]
}

// send queues messages in their encoding, and drops them when the link is full.
func (c *cluster) send(l link, messages []wirepb.GroupMessage) {
	c.sent.Add(int64(len(messages)))
	c.mu.Lock()
	queue, known := c.queues[l]
	if !known {
		queue = make(chan []wirepb.GroupMessage, linkQueue)
		c.queues[l] = queue
		c.links.Go(func() { c.carry(l, queue) })
	}
	c.mu.Unlock()
	select {
	case queue <- slices.Clone(messages):
	default:
	}
}

// carry delivers what a link takes until the cluster is closed.
func (c *cluster) carry(l link, queue chan []wirepb.GroupMessage) {
	for {
		select {
		case <-c.quit:
			return
		case messages := <-queue:
			var frame []byte
			for _, m := range messages {
				frame = wirepb.AppendGroupMessage(frame, m)
			}
			var got []wirepb.GroupMessage
			err := wirepb.DecodeGroupMessages(frame, func(m wirepb.GroupMessage) error {
				got = append(got, m)
				return nil
			})
			if err != nil {
				c.t.Error(err)
			}
			if to := c.member(l.to); to != nil {
				to.Deliver(got)
			}
		}
	}
}

// sendSnapshot carries a snapshot chunk by chunk, at the pace of snapshotPause.
func (c *cluster) sendSnapshot(ctx context.Context, l link, m wirepb.GroupMessage, chunks func(func([]byte) error) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, taken := make(chan []byte), make(chan error, 1)
	go func() {
		taken <- c.member(l.to).TakeSnapshot(ctx, l.from, m, func() ([]byte, error) {
			select {
			case chunk, open := <-stream:
				if !open {
					return nil, io.EOF
				}
				return chunk, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
	}()
	err := chunks(func(chunk []byte) error {
		select {
		case <-time.After(c.snapshotPause):
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case stream <- slices.Clone(chunk):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case err := <-taken:
			taken <- err
			return errors.New("the receiver gave up")
		}
	})
	if err == nil {
		close(stream)
	} else {
		cancel()
	}
	return errors.Join(err, <-taken)
}

func (c *cluster) close() {
	c.mu.Lock()
	members := c.members
	c.mu.Unlock()
	for _, m := range members {
		if err := m.Close(); err != nil {
			c.t.Error(err)
		}
	}
	close(c.quit)
	c.links.Wait()
	for _, m := range members {
		if err := errors.Join(m.log.Close(), m.engines.Close()); err != nil {
			c.t.Error(err)
		}
	}
}

func (c *cluster) ctx(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	c.t.Cleanup(cancel)
	return ctx
}

func (c *cluster) eventually(what string, limit time.Duration, check func() error) {
	c.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// createGroup makes a group on all nodes, has one of them lead it and activates
// that one's term.
func (c *cluster) createGroup(id pinetree.GroupID, leader pinetree.NodeID) *host.Group {
	c.t.Helper()
	for _, n := range all {
		if err := c.member(n).Create(c.ctx(10*time.Second), id, all); err != nil {
			c.t.Fatal(err)
		}
	}
	g, err := c.member(leader).Group(id)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := g.Appoint(c.ctx(10*time.Second), group.Appointment{ID: 1}); err != nil {
		c.t.Fatal(err)
	}
	c.eventually("activation", 10*time.Second, func() error {
		asked := lease.BootTime()
		s, err := g.Status(c.ctx(time.Second))
		if err != nil || s.Ready && s.Activated {
			return err
		}
		g.Grant(lease.Grant{Group: id, Appointment: s.Appointment, Term: s.RaftTerm, Duration: 100 * time.Millisecond}, asked)
		return fmt.Errorf("%+v", s)
	})
	return g
}
