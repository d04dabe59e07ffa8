package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// lightWriter appends to one of many volumes, one record after the other.
type lightWriter struct {
	ledger
	meter meter
	group uint64
}

// lightRun appends until the context ends, each record when the one before is
// acknowledged.
func (l *lightWriter) lightRun(ctx context.Context) error {
	for ctx.Err() == nil {
		next := l.tail + recordBytes
		err := l.writer.Append(ctx, pinetree.Record{Prev: l.tail, LSN: next, Payload: payload(next)})
		if err == nil {
			l.tail = next
			err = l.writer.Flush(ctx)
		}
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(l.pace):
		}
	}
	return nil
}

// lightWriters opens a volume with a group of its own for each writer, and
// volumes and writers side by side.
func (c *cluster) lightWriters(count int, pace time.Duration) []*lightWriter {
	c.t.Helper()
	shared := &ship.Connections{}
	c.t.Cleanup(func() { shared.Close() })
	list := make([]*lightWriter, count)
	var opening sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range list {
		opening.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			l, err := c.lightWriter(fmt.Sprintf("light%d", i), shared)
			if err != nil {
				c.t.Errorf("volume %d: %v", i, err)
				return
			}
			l.pace = pace
			list[i] = l
		})
	}
	opening.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
	return list
}

func (c *cluster) lightWriter(name string, shared *ship.Connections) (*lightWriter, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	v, err := c.manages().CreateVolume(ctx, &wirepb.CreateVolumeRequest{Name: name, Format: uint32(pinetree.FormatOpaque), Replicas: uint32(len(c.nodes))})
	if err != nil {
		return nil, err
	}
	client, err := ship.Dial(ctx, ship.Config{Managers: []string{c.managed}, Volume: name, Connections: shared})
	if err != nil {
		return nil, err
	}
	c.t.Cleanup(func() { client.Close() })
	l := &lightWriter{group: v.Group}
	l.writer, err = client.OpenWriter(ctx, ship.WriterConfig{
		RetryFor: time.Minute, Acked: func(a ship.Acked) { l.acked.Store(uint64(a.LSN)); l.meter.hear(a) },
	})
	return l, err
}

// gather moves the leaders of all groups to one node. It asks for no lease: a
// group that nobody wants anything of has none.
func (c *cluster) gather(list []*lightWriter, to *node) {
	c.t.Helper()
	within(c.t, time.Minute, fmt.Sprintf("node %d leads %d groups", to.id, len(list)), func() error {
		groups, err := c.manages().ListGroups(c.within(5*time.Second), &wirepb.ListGroupsRequest{})
		if err != nil {
			return err
		}
		elsewhere := 0
		for _, g := range groups.Groups {
			if g.Leader == uint64(to.id) {
				continue
			}
			elsewhere++
			_, err = c.manages().MoveLeader(c.within(5*time.Second), &wirepb.MoveLeaderRequest{Group: g.Group, To: uint64(to.id)})
		}
		if elsewhere > 0 {
			return fmt.Errorf("%d groups are led elsewhere: %w", elsewhere, err)
		}
		return nil
	})
}

// TestFailoverOfManyGroups kills the process that leads many groups, each with a
// writer: all of them are written to again within the bar.
func TestFailoverOfManyGroups(t *testing.T) {
	groups, limit := 12, bars{worst: 10 * time.Second}
	if full() {
		groups, limit = 200, bars{worst: 2500 * time.Millisecond}
	}
	c := startReachable(t, 3)
	list := c.lightWriters(groups, 100*time.Millisecond)
	old := c.nodes[0]
	c.gather(list, old)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var running sync.WaitGroup
	var failed atomic.Pointer[error]
	for _, l := range list {
		running.Go(func() {
			if err := l.lightRun(ctx); err != nil {
				failed.Store(&err)
			}
		})
	}
	within(t, 20*time.Second, "all are acknowledged by one node", func() error {
		for i, l := range list {
			if l.meter.leader() != old.id {
				return fmt.Errorf("writer %d is acknowledged by node %d", i, l.meter.leader())
			}
		}
		return nil
	})
	time.Sleep(500 * time.Millisecond)
	began := time.Now()
	old.kill()
	var served sample
	for i, l := range list {
		within(t, 30*time.Second, fmt.Sprintf("writer %d is served again", i), func() error {
			got, err := l.meter.after(began)
			if err == nil {
				served = append(served, got.first.Sub(began))
			}
			return err
		})
	}
	t.Log(c.spans(began))
	served.judge(t, fmt.Sprintf("kill -9 of the leader of %d groups, each", groups), limit)
	cancel()
	running.Wait()
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
}
