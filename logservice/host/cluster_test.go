package host

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/memengine"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/memlog"
)

const (
	theGroup  pinetree.GroupID  = 7
	theVolume pinetree.VolumeID = 3
)

// cluster is three hosts joined by function calls, with a switch per link.
type cluster struct {
	t     *testing.T
	mu    sync.Mutex
	hosts map[pinetree.NodeID]*Host
	logs  map[pinetree.NodeID]raftlog.Store
	state map[pinetree.NodeID]engine.Store
	cut   map[[2]pinetree.NodeID]bool
	next  pinetree.AppointmentID
	tune  func(*Options) // of hosts that start
	// carry, when not nil, is given the chunks of snapshots on their way.
	carry func(to pinetree.NodeID, chunk []byte) error
	stop  map[pinetree.NodeID]func() // ends the granting to a leader
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newCluster(t *testing.T) *cluster {
	c := &cluster{}
	c.init(t)
	return c
}

func (c *cluster) init(t *testing.T) {
	c.t, c.hosts, c.logs = t, map[pinetree.NodeID]*Host{}, map[pinetree.NodeID]raftlog.Store{}
	c.state, c.cut, c.stop = map[pinetree.NodeID]engine.Store{}, map[[2]pinetree.NodeID]bool{}, map[pinetree.NodeID]func(){}
	t.Cleanup(c.close)
	for id := pinetree.NodeID(1); id <= 3; id++ {
		c.logs[id] = memlog.New()
		c.state[id] = memengine.New(memengine.Options{})
		c.start(id)
	}
	for _, h := range c.hosts {
		if err := h.Create(c.ctx(time.Second), theGroup, []pinetree.NodeID{1, 2, 3}); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *cluster) start(id pinetree.NodeID) {
	c.t.Helper()
	var out io.Writer = io.Discard
	if testing.Verbose() {
		out = os.Stderr
	}
	options := DefaultOptions()
	options.Replica.TickInterval = 20 * time.Millisecond
	options.FlushInterval = 40 * time.Millisecond
	options.KeepEntries = 4
	if c.tune != nil {
		c.tune(&options)
	}
	h, err := NewHost(Config{
		Node: id, Log: c.logs[id], Engines: c.state[id], Clock: lease.BootTime, Options: options,
		Logger: slog.New(slog.NewTextHandler(out, nil)),
		Send:   func(to pinetree.NodeID, m []wirepb.GroupMessage) { c.send(id, to, m) },
		SendSnapshot: func(ctx context.Context, to pinetree.NodeID, m wirepb.GroupMessage, chunks func(func([]byte) error) error) error {
			return c.sendSnapshot(ctx, to, m, chunks)
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	c.hosts[id] = h
	c.mu.Unlock()
}

// send carries messages through their encoding, as the network does.
func (c *cluster) send(from, to pinetree.NodeID, messages []wirepb.GroupMessage) {
	c.mu.Lock()
	h, cut := c.hosts[to], c.cut[[2]pinetree.NodeID{from, to}]
	c.mu.Unlock()
	if h == nil || cut {
		return
	}
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
	h.Deliver(got)
}

func (c *cluster) isolate(id pinetree.NodeID, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.logs {
		c.cut[[2]pinetree.NodeID{id, other}] = cut
		c.cut[[2]pinetree.NodeID{other, id}] = cut
	}
}

func (c *cluster) kill(id pinetree.NodeID) {
	c.mu.Lock()
	h := c.hosts[id]
	delete(c.hosts, id)
	c.mu.Unlock()
	c.stopGrants(id)
	if h != nil {
		if err := h.Close(); err != nil {
			c.t.Error(err)
		}
	}
}

func (c *cluster) close() {
	for id := range c.logs {
		c.kill(id)
	}
}

func (c *cluster) ctx(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	c.t.Cleanup(cancel)
	return ctx
}

func (c *cluster) group(id pinetree.NodeID) *Group {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	g, err := c.hosts[id].Group(theGroup)
	if err != nil {
		c.t.Fatal(err)
	}
	return g
}

// appoint makes a node lead and grants it leases until stopGrants.
func (c *cluster) appoint(id pinetree.NodeID) *Group {
	c.t.Helper()
	c.next++
	g := c.group(id)
	if err := g.Appoint(c.ctx(3*time.Second), group.Appointment{ID: c.next}); err != nil {
		c.t.Fatal(err)
	}
	c.grant(id)
	c.eventually(func() error {
		if s, err := g.Status(c.ctx(time.Second)); err != nil || !s.Ready || !s.Activated {
			return fmt.Errorf("status %+v, %v", s, err)
		}
		return nil
	})
	return g
}

// grant renews the lease of a leader every 20 ms.
func (c *cluster) grant(id pinetree.NodeID) {
	ctx, cancel := context.WithCancel(context.Background())
	g, done := c.group(id), make(chan struct{})
	c.stop[id] = func() { cancel(); <-done }
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			asked := lease.BootTime()
			if s, err := g.Status(ctx); err == nil && s.Leader {
				g.Grant(lease.Grant{Group: theGroup, Appointment: s.Appointment, Term: s.RaftTerm, Duration: 200 * time.Millisecond}, asked)
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
}

func (c *cluster) stopGrants(id pinetree.NodeID) {
	if stop := c.stop[id]; stop != nil {
		stop()
		delete(c.stop, id)
	}
}

func (c *cluster) eventually(check func() error) {
	c.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("not within five seconds: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// createVolume makes the volume and opens its first compute term.
func (c *cluster) createVolume(g *Group) {
	c.t.Helper()
	if err := g.CreateVolume(c.ctx(time.Second), theVolume, pinetree.FormatOpaque); err != nil {
		c.t.Fatal(err)
	}
	opened, err := g.Open(c.ctx(time.Second), theVolume, adapter.Fence{})
	if err != nil || opened.Term != 1 || opened.Durable != 0 {
		c.t.Fatalf("opened %+v, %v", opened, err)
	}
}

// batches cuts the log (from, to] into batches of one 10-byte record each.
func batches(t testing.TB, term pinetree.ComputeTerm, from, to pinetree.LSN) []pinetree.Batch {
	t.Helper()
	var list []pinetree.Batch
	for lsn := from; lsn < to; lsn += 10 {
		b, err := storepb.EncodeBatch(theVolume, term, []pinetree.Record{{Prev: lsn, LSN: lsn + 10, Payload: []byte(lsn.String())}})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

// ship offers batches and waits until the last is acknowledged.
func (c *cluster) ship(g *Group, term pinetree.ComputeTerm, list []pinetree.Batch) error {
	c.t.Helper()
	ctx := c.ctx(3 * time.Second)
	s, err := g.Ship(ctx, theVolume, term)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Offer(ctx, list); err != nil {
		return err
	}
	for {
		p := s.Progress()
		if p.Err != nil || p.Committed >= list[len(list)-1].LSN {
			return p.Err
		}
		select {
		case <-s.Changed():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
