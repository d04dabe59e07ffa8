package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/memengine"
	"github.com/pinetree-db/pinetree/logservice/membership"
	"github.com/pinetree-db/pinetree/proto/wirepb"
	"github.com/pinetree-db/pinetree/raftlog/memlog"
)

// sendSnapshot carries a snapshot to another host, a chunk at a time.
func (c *cluster) sendSnapshot(ctx context.Context, to pinetree.NodeID, m wirepb.GroupMessage, chunks func(func([]byte) error) error) error {
	c.mu.Lock()
	from := pinetree.NodeID(m.Message.GetFrom())
	h, cut := c.hosts[to], c.cut[[2]pinetree.NodeID{from, to}]
	c.mu.Unlock()
	if h == nil || cut {
		return fmt.Errorf("node %d cannot be reached", to)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, taken := make(chan []byte), make(chan error, 1)
	go func() {
		taken <- h.TakeSnapshot(ctx, from, m, func() ([]byte, error) {
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
		if c.carry != nil {
			if err := c.carry(to, chunk); err != nil {
				return err
			}
		}
		select {
		case stream <- slices.Clone(chunk):
			return nil
		case err := <-taken:
			taken <- err
			return fmt.Errorf("the receiver has ended: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err == nil {
		close(stream)
	} else {
		cancel()
	}
	if e := <-taken; e != nil {
		err = e
	}
	return err
}

// addNode starts a node with an empty disk and a blank replica of the group.
func (c *cluster) addNode(id pinetree.NodeID) *Group {
	c.t.Helper()
	c.logs[id], c.state[id] = memlog.New(), memengine.New(memengine.Options{})
	c.start(id)
	if err := c.hosts[id].CreateBlank(c.ctx(time.Second), theGroup); err != nil {
		c.t.Fatal(err)
	}
	return c.group(id)
}

// change makes a change of members, repeating it while the leader says to wait.
func (c *cluster) change(leader *Group, change membership.Change) membership.Members {
	c.t.Helper()
	var after membership.Members
	c.eventually(func() (err error) {
		after, err = leader.ChangeMembership(c.ctx(2*time.Second), change)
		if err != nil && !errors.Is(err, pinetree.ErrQueueFull) && !errors.Is(err, pinetree.ErrBadBatch) {
			c.t.Fatal(err)
		}
		return err
	})
	return after
}

// reads waits until a replica reads the log up to an LSN.
func (c *cluster) reads(g *Group, end pinetree.LSN) {
	c.t.Helper()
	c.eventually(func() error {
		at, _, err := logEnd(c, g, pinetree.ReadStale, time.Second)
		if err == nil && at != end {
			err = fmt.Errorf("node %d is at %s", g.host.cfg.Node, at)
		}
		return err
	})
}

func TestAReplicaIsAddedPromotedAndAnotherOneRemoved(t *testing.T) {
	c := newCluster(t)
	g := c.appoint(1)
	c.createVolume(g)
	if err := c.ship(g, 1, batches(t, 1, 0, 1000)); err != nil {
		t.Fatal(err)
	}
	fourth := c.addNode(4)
	c.change(g, membership.Change{Add: []pinetree.NodeID{4}})
	c.reads(fourth, 1000)
	after := c.change(g, membership.Replace(3, 4))
	if want := []pinetree.NodeID{1, 2, 4}; !slices.Equal(after.Voters, want) || len(after.Learners) > 0 || after.Joint() {
		t.Fatalf("members are %+v", after)
	}
	third := c.group(3)
	c.eventually(func() error {
		if s, err := third.Status(c.ctx(time.Second)); err != nil || !s.Removed {
			return fmt.Errorf("the removed replica does not know it: %+v, %v", s, err)
		}
		return nil
	})
	if err := c.hosts[3].RemoveReplica(c.ctx(time.Second), theGroup); err != nil {
		t.Fatal(err)
	}
	if ids, _ := c.state[3].Groups(); len(ids) > 0 || len(c.logs[3].Groups()) > 0 {
		t.Fatalf("its files are there: %v, %v", ids, c.logs[3].Groups())
	}
	// The group goes on without the node that was replaced, and one more.
	c.kill(3)
	c.kill(2)
	if err := c.ship(g, 1, batches(t, 1, 1000, 1500)); err != nil {
		t.Fatal(err)
	}
	c.kill(1)
	c.start(1)
	c.start(2)
	g = c.appoint(4)
	if at, _, err := logEnd(c, g, pinetree.ReadConsistent, 2*time.Second); err != nil || at != 1500 {
		t.Fatalf("the replica that was added leads and reads up to %s, %v", at, err)
	}
}
