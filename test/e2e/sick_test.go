package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// sickness makes the leader sick under a load, and wants that another one
// acknowledges within a limit, that the manager says why, that the sick one is in
// quarantine, and that nobody takes the leadership again.
func (c *cluster) sickness(group uint64, l *load, limit time.Duration, why string, harm func(*node)) {
	c.t.Helper()
	c.settled(group)
	old, got := l.loseLeader(1, group, harm)
	if got.gap() > limit {
		c.t.Errorf("nobody acknowledged anything for %v, the limit is %v", got.gap(), limit)
	}
	began := got.last.Add(-time.Minute)
	within(c.t, 5*time.Second, "the quarantine is told", func() error {
		told := c.events("quarantined", old.id, began)
		if len(told) != 1 || !strings.Contains(told[0].Cause, why) {
			return fmt.Errorf("%v, and not once because of %q", told, why)
		}
		return nil
	})
	nodes, err := c.manages().ListNodes(c.within(2*time.Second), &wirepb.ListNodesRequest{})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, n := range nodes.Nodes {
		if (n.QuarantineMs > 0) != (n.Node == uint64(old.id)) {
			c.t.Errorf("%s was sick, and the manager says %v", old.name, n)
		}
	}
	l.more(1 << 18)
	if now := c.mustLeader(group); now.id != got.to {
		c.t.Errorf("node %d took over, and now %s leads", got.to, now.name)
	}
}

// onImages starts three nodes with the given folder on file systems of their own.
func onImages(t *testing.T, folder string) *cluster {
	t.Helper()
	images := newImages(t, 3, "ext4", "256M")
	for _, i := range images {
		i.only = folder
	}
	if _, err := exec.LookPath("fsfreeze"); err != nil {
		t.Skipf("it needs fsfreeze: %v", err)
	}
	return startClusterOn(t, images, 3, "--engine", "wal")
}

// TestALeaderWhoseDiskHangsHandsOver freezes the file system of the leader's raft
// log.
func TestALeaderWhoseDiskHangsHandsOver(t *testing.T) {
	c := onImages(t, "raftlog")
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.load("v")
	thaw := func() {}
	c.sickness(volume.Group, l, 10*time.Second, "its disk has not finished an fsync", func(n *node) { thaw = n.image.freeze() })
	thaw()
	c.verify(volume.Volume, l.end())
}

// TestALeaderThatReplaysNothingHandsOver freezes the file system of the leader's
// engine: its log, its quorum and its network are as healthy as ever.
func TestALeaderThatReplaysNothingHandsOver(t *testing.T) {
	c := onImages(t, "engine")
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.load("v")
	thaw := func() {}
	c.sickness(volume.Group, l, 12*time.Second, "has replayed nothing for", func(n *node) { thaw = n.image.freeze() })
	thaw()
	c.verify(volume.Volume, l.end())
}

// TestALeaderThatMayNotWriteHandsOver leaves so little space to the leader's raft
// log that it refuses writers, and enough for the leadership to be moved.
func TestALeaderThatMayNotWriteHandsOver(t *testing.T) {
	c := onImages(t, "raftlog")
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.load("v")
	c.sickness(volume.Group, l, 10*time.Second, `(mark "stop")`, func(n *node) { n.image.leave(30 << 20) })
	c.verifyOn([]*node{c.mustLeader(volume.Group)}, volume.Volume, l.end())
}

// TestALeaderThatHearsNobodyIsReplaced cuts one direction of the leader's links:
// its peers hear it and are content, and it hears nothing.
func TestALeaderThatHearsNobodyIsReplaced(t *testing.T) {
	c := startCluster(t, 3)
	c.oneWay(t, func(leader, other *node) { c.network.set(other.host, leader.host, true) })
}

// TestALeaderThatNobodyHearsIsReplaced cuts the other direction.
func TestALeaderThatNobodyHearsIsReplaced(t *testing.T) {
	c := startCluster(t, 3)
	c.oneWay(t, func(leader, other *node) { c.network.set(leader.host, other.host, true) })
}

func (c *cluster) oneWay(t *testing.T, cut func(leader, other *node)) {
	t.Helper()
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.load("v")
	var old *node
	c.sickness(volume.Group, l, 10*time.Second, "has not heard from a quorum", func(n *node) {
		old = n
		for _, other := range c.nodes {
			if other != n {
				cut(n, other)
			}
		}
	})
	c.isolate(old, false)
	c.verify(volume.Volume, l.end())
}

// TestALeaderThatIsSlowerThanItsPeersHandsOver delays every fsync on the leader's
// node. The group would not need that disk: its other replicas are a majority.
func TestALeaderThatIsSlowerThanItsPeersHandsOver(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skipf("it needs strace to delay fsync: %v", err)
	}
	c := startCluster(t, 3, "--engine", "wal")
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.load("v")
	end := func() {}
	c.sickness(volume.Group, l, 12*time.Second, "slower than its peers: an fsync takes", func(n *node) { end = delayFsync(t, n, 400*time.Millisecond) })
	end()
	c.verify(volume.Volume, l.end())
}
