package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
)

// TestAFullDiskStopsItsNodeAlone fills the disk of a follower and then that of the
// leader: the node says so, the group goes on, and when there is space again and
// the node is started it catches up.
func TestAFullDiskStopsItsNodeAlone(t *testing.T) {
	for _, logOnly := range []bool{false, true} {
		t.Run(fmt.Sprintf("of the raft log alone %v", logOnly), func(t *testing.T) {
			if !logOnly && !full() {
				t.Skip("PINETREE_E2E=full runs it")
			}
			images := newImages(t, 3, "ext4", "256M")
			for _, i := range images {
				i.logOnly = logOnly
			}
			c := startClusterOn(t, images, 3, "--engine", "wal")
			volume := c.createVolume("v", pinetree.FormatOpaque)
			l := c.load("v")
			for _, leads := range []bool{false, true} {
				l.more(1 << 18)
				n := c.victim(volume.Group, leads)
				n.image.fill()
				within(t, 30*time.Second, fmt.Sprintf("%s, leader %v, says that its disk is full", n.name, leads), func() error {
					return n.logSays("no space left on device")
				})
				l.more(1 << 19)
				c.hasNoVoice(n, l)
				n.kill()
				n.image.free()
				n.start()
				c.awaitServing(n)
				l.more(1 << 18)
				c.votersAre(volume.Group, c.nodes...)
			}
			c.verify(volume.Volume, l.end())
		})
	}
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
	c := startClusterOn(t, newImages(t, 3, "ext4", "256M"), 3, "--engine", "wal")
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.load("v")
	l.more(1 << 18)
	for _, n := range c.nodes {
		n.image.fill()
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
		n.kill()
		n.image.free()
		n.start()
	}
	for _, n := range c.nodes {
		c.awaitServing(n)
	}
	l.more(1 << 18)
	c.verify(volume.Volume, l.end())
}
