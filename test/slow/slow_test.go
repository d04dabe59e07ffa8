package slow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/logservice/membership"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// groups is how many groups there are; those of one leader are on both of its
// workers.
const groups = 4

// loaded is a cluster with groups that one node leads, and a writer in each.
func loaded(t *testing.T, leader pinetree.NodeID) (*cluster, []*writer) {
	return loadedWith(t, leader, host.DefaultOptions())
}

func loadedWith(t *testing.T, leader pinetree.NodeID, o host.Options) (*cluster, []*writer) {
	c := newCluster(t, o)
	var writers []*writer
	for i := range groups {
		g := c.createGroup(pinetree.GroupID(i+1), leader)
		writers = append(writers, c.newWriter(fmt.Sprintf("writer of group %d", i+1), g, pinetree.VolumeID(i+1)))
	}
	return c, writers
}

// readers of each group's volume, at one node.
func (c *cluster) readers(at pinetree.NodeID, ids ...pinetree.GroupID) []*reader {
	c.t.Helper()
	var list []*reader
	for _, id := range ids {
		g, err := c.member(at).Group(id)
		if err != nil {
			c.t.Fatal(err)
		}
		list = append(list, &reader{name: fmt.Sprintf("reader of group %d on node %d", id, at), group: g, volume: pinetree.VolumeID(id)})
	}
	return list
}

func TestASlowDiskOfAFollowerDelaysNobody(t *testing.T) {
	c, writers := loaded(t, 1)
	l := start(t, writers, append(c.readers(1, 1, 2), c.readers(2, 3, 4)...))
	l.unharmed(func() func() {
		log, engines := c.member(3).logDisk.slowSyncs(harm), c.member(3).engineDisk.slowSyncs(harm)
		return func() { log(); engines() }
	})
}

func TestASlowDiskOfTheLeaderDelaysNobody(t *testing.T) {
	c, writers := loaded(t, 1)
	l := start(t, writers, nil)
	l.unharmed(func() func() { return c.member(1).logDisk.slowSyncs(harm) })
}

func TestAStalledEngineOfTheLeaderDelaysNoWriter(t *testing.T) {
	c, writers := loaded(t, 1)
	l := start(t, writers, nil)
	l.unharmed(func() func() { return c.member(1).engineDisk.stopWrites(".wal") })
}

func TestAStalledEngineOfOneGroupDelaysNoReaderOfAnother(t *testing.T) {
	c, writers := loaded(t, 1)
	l := start(t, writers, c.readers(1, 2, 3, 4))
	l.unharmed(func() func() { return c.member(1).engineDisk.stopWrites(fmt.Sprintf("%016x.", 1)) })
}

// More groups hang than there are appliers.
func TestStalledEnginesDelayNoReaderOfAnotherGroup(t *testing.T) {
	c, writers := loaded(t, 1)
	l := start(t, writers, c.readers(1, groups))
	l.unharmed(func() func() {
		var resume []func()
		for id := 1; id < groups; id++ {
			resume = append(resume, c.member(1).engineDisk.stopWrites(fmt.Sprintf("%016x.", id)))
		}
		return func() {
			for _, r := range resume {
				r()
			}
		}
	})
}

func TestAStalledEngineOfAFollowerDelaysNobodyElse(t *testing.T) {
	c, writers := loaded(t, 1)
	l := start(t, writers, append(c.readers(1, 1, 2), c.readers(2, 3, 4)...))
	l.unharmed(func() func() { return c.member(3).engineDisk.stopWrites(".wal") })
}

func TestABigSnapshotUnderWayDelaysNobody(t *testing.T) {
	c, writers := loaded(t, 1)
	c.snapshotPause = 100 * time.Millisecond
	part := bytes.Repeat([]byte("pinetree"), 64<<10)
	for range 32 {
		if err := writers[0].write(c.ctx(5*time.Second), part); err != nil {
			t.Fatal(err)
		}
	}
	leader, err := c.member(1).Group(1)
	if err != nil {
		t.Fatal(err)
	}
	l := start(t, writers, append(c.readers(1, 1, 2), c.readers(2, 3, 4)...))
	next := pinetree.NodeID(3)
	l.unharmed(func() func() {
		next++
		if err := c.addNode(next).CreateBlank(c.ctx(5*time.Second), 1); err != nil {
			t.Fatal(err)
		}
		c.eventually("a snapshot is under way", 20*time.Second, func() error {
			// An answer that was lost makes no difference.
			_, err := leader.ChangeMembership(c.ctx(2*time.Second), membership.Change{Add: []pinetree.NodeID{next}})
			return errors.Join(c.underWay(leader), ignore(err, pinetree.ErrBadBatch))
		})
		return func() {
			if err := c.underWay(leader); err != nil {
				t.Errorf("the snapshot was not under way all the time: %v", err)
			}
		}
	})
}

// underWay tells whether a group's leader sends a snapshot.
func (c *cluster) underWay(leader *host.Group) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s, err := leader.Status(ctx)
	for _, m := range s.Members {
		if m.Snapshot != 0 {
			return err
		}
	}
	return fmt.Errorf("%+v, %v", s.Members, err)
}

// ignore drops an error that is to be expected.
func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}
