package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// TestAFullDiskHarmsItsNodeAlone fills the disk of a follower: the node says so and
// stops, the group goes on without it, and when there is space again and the node
// is started it catches up. Then that of the leader, first so far that it has to
// hand over, and then wholly: writers are refused, or another one leads, and they go
// on when there is space again.
func TestAFullDiskHarmsItsNodeAlone(t *testing.T) {
	beside(t)
	for _, logOnly := range []bool{false, true} {
		t.Run(fmt.Sprintf("of the raft log alone %v", logOnly), func(t *testing.T) {
			if !logOnly && !full() {
				t.Skip("PINETREE_E2E=full runs it")
			}
			images := newImages(t, 3, "ext4", "256M")
			for _, i := range images {
				i.only = map[bool]string{true: "raftlog"}[logOnly]
			}
			c := startClusterOn(t, images, 3, "--engine", "wal")
			volume := c.createVolume("v", pinetree.FormatOpaque)
			l := c.load("v")
			l.more(1 << 18)
			follower := c.victim(volume.Group, false)
			follower.image.fill()
			within(t, 30*time.Second, "the follower says that its disk is full", func() error { return follower.logSays(stopped) })
			l.more(1 << 19)
			c.hasNoVoice(follower, l)
			c.makeSpace(follower)
			l.more(1 << 18)
			c.votersAre(volume.Group, c.nodes...)

			low := c.victim(volume.Group, true)
			low.image.leave(20 << 20) // between the marks stop and reserve
			c.handsOver(low, volume.Group, l)
			if err := low.logSays(stopped); err == nil {
				t.Errorf("%s had space left, and a write has failed", low.name)
			}
			low.image.free()

			leader := c.victim(volume.Group, true)
			leader.image.fill()
			within(t, 30*time.Second, "the leader says that its disk is full", func() error { return leader.logSays(refuses) })
			time.Sleep(time.Second)
			c.makeSpace(leader)
			l.more(1 << 18)
			c.verify(volume.Volume, l.end())
		})
	}
}

// What a node says when its disk is full: that it takes no more from writers, and
// that a write has failed, after which it must be started anew.
const (
	refuses = "level=reserve"
	stopped = "no space left on device"
)

// makeSpace empties a disk that was filled, and starts the node anew if it has
// stopped.
func (c *cluster) makeSpace(n *node) {
	c.t.Helper()
	n.image.free()
	if err := n.logSays(stopped); err == nil {
		n.kill()
		n.start()
	}
	c.awaitServing(n)
}

// handsOver waits until another node leads in place of one that is low on space,
// which the managers' listing says, and something was acknowledged there.
func (c *cluster) handsOver(low *node, group uint64, l *load) {
	c.t.Helper()
	within(c.t, 30*time.Second, "the listing says that "+low.name+" is low on space", func() error {
		list, err := c.manages().ListNodes(c.within(5*time.Second), &wirepb.ListNodesRequest{})
		if err != nil {
			return err
		}
		for _, n := range list.GetNodes() {
			if n.GetNode() == uint64(low.id) && n.GetSpace() != "stop" {
				err = fmt.Errorf("it says %q", n.GetSpace())
			}
		}
		return err
	})
	within(c.t, 30*time.Second, "another node leads", func() error {
		if now, leased, err := c.holder(group); err != nil || !leased || now == low {
			return fmt.Errorf("the leader is %v, leased %v: %v", now, leased, err)
		}
		return nil
	})
	l.more(1 << 16)
}

// hasNoVoice pauses one more node: of the two that are left, the one that takes
// no more writes must not be taken for half a majority.
func (c *cluster) hasNoVoice(full *node, l *load) {
	c.t.Helper()
	paused := c.nodes[0]
	if paused == full {
		paused = c.nodes[1]
	}
	paused.signal(syscall.SIGSTOP)
	time.Sleep(300 * time.Millisecond) // what was under way is acknowledged or is not
	before := l.acked.Load()
	time.Sleep(time.Second)
	if after := l.acked.Load(); after != before {
		c.t.Errorf("from %s to %s was acknowledged with the help of %s, whose disk is full", pinetree.LSN(before), pinetree.LSN(after), full.name)
	}
	paused.signal(syscall.SIGCONT)
	c.awaitServing(paused)
	l.more(1 << 16)
}

// TestFullDisksLoseNothing fills all disks: nothing more is acknowledged, and what
// was is there when there is space again.
func TestFullDisksLoseNothing(t *testing.T) {
	beside(t)
	c := startClusterOn(t, newImages(t, 3, "ext4", "256M"), 3, "--engine", "wal")
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.load("v")
	l.more(1 << 18)
	for _, n := range c.nodes {
		n.image.fill()
	}
	for _, n := range c.nodes {
		within(t, 30*time.Second, n.name+" says that its disk is full", func() error { return n.logSays(refuses) })
	}
	within(t, 30*time.Second, "nothing more is acknowledged", func() error {
		before := l.acked.Load()
		time.Sleep(time.Second)
		if after := l.acked.Load(); after > before {
			return fmt.Errorf("from %s to %s", pinetree.LSN(before), pinetree.LSN(after))
		}
		return nil
	})
	for _, n := range c.nodes {
		c.makeSpace(n)
	}
	l.more(1 << 18)
	c.verify(volume.Volume, l.end())
}
