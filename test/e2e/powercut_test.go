package e2e

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
)

// powerCut cuts the power of nodes at one moment, and switches them on again after
// a pause. What a node says after that moment is not heard: a process that
// outlives its file system by an instant may say anything.
func (c *cluster) powerCut(journal int, pause time.Duration, nodes ...*node) {
	c.t.Helper()
	for _, n := range nodes {
		c.network.power(n.host)
	}
	for _, n := range nodes {
		n.image.cut(journal)
	}
	for _, n := range nodes {
		n.kill()
		n.image.unmount()
	}
	time.Sleep(pause)
	for _, n := range nodes {
		n.image.mount()
		c.network.power(n.host)
		n.start()
	}
	for _, n := range nodes {
		c.awaitServing(n)
	}
}

// TestNothingAcknowledgedIsLostToPowerCuts cuts the power of followers, of leaders
// and of all nodes at once, each on a file system of its own, under a writer.
func TestNothingAcknowledgedIsLostToPowerCuts(t *testing.T) {
	beside(t)
	rounds := 4
	if full() {
		rounds = 60
	}
	for _, setup := range []struct{ fileSystem, engine string }{{"ext4", "badger"}, {"xfs", "wal"}, {"ext4", "wal"}, {"xfs", "badger"}, {"ext4", "pebble"}, {"xfs", "pebble"}} {
		t.Run(setup.fileSystem+"/"+setup.engine, func(t *testing.T) {
			if (setup.engine == "pebble" || setup.engine == "wal" == (setup.fileSystem == "ext4")) && !full() {
				t.Skip("PINETREE_E2E=full runs it")
			}
			c := startClusterOn(t, newImages(t, 3, setup.fileSystem, "4G"), 3, "--engine", setup.engine)
			volume := c.createVolume("v", pinetree.FormatOpaque)
			l := c.load("v")
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			for round := range rounds {
				l.more(1 << 16)
				time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
				victims := c.nodes
				if round%2 == 0 {
					victims = []*node{c.victim(volume.Group, round%4 == 0)}
				}
				journal := journalLost
				if random.IntN(4) == 0 {
					journal = journalWritten
				}
				c.powerCut(journal, time.Duration(random.IntN(300))*time.Millisecond, victims...)
			}
			l.more(1 << 16)
			c.verify(volume.Volume, l.end())
		})
	}
}

// victim is the leader of a group, or a follower.
func (c *cluster) victim(group uint64, leads bool) *node {
	c.t.Helper()
	leader := c.mustLeader(group)
	for _, n := range c.nodes {
		if (n == leader) == leads {
			return n
		}
	}
	c.t.Fatal("there is no such node")
	return nil
}
