package clustermgr

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/clustermgr/ledger"
)

// TestAQuarantineOutlivesItsManager: a node whose disk hangs loses its group and is
// in quarantine, by the word of the next manager, too, until its time is over.
func TestAQuarantineOutlivesItsManager(t *testing.T) {
	t.Parallel()
	c := newTunedCluster(t, ledger.NewMemory(), func(_ int, cfg *Config) { cfg.Quarantine.First = 4 * time.Second }, "a", "b", "c")
	g := c.createGroup(3)
	sick := c.byID(g.GetLeader())
	hang := func(pending time.Duration) {
		defer sick.lock()()
		sick.hang = pending
	}
	hang(3 * time.Second)
	c.awaitLeader(g.GetGroup(), g.GetLeader())
	hang(0)
	confined := func() bool {
		info := c.nodeInfo(g.GetLeader())
		return info.GetQuarantineMs() > 0 && strings.Contains(info.GetNote(), "has not finished an fsync")
	}
	c.eventually("the sick node is in quarantine", confined)
	c.eventually("that is told", func() bool {
		return c.happened("quarantined", "has not finished an fsync", "not appointed for 4s", "number 1")
	})
	c.managers[0].end()
	c.manager(0)
	c.eventually("the next manager knows", func() bool {
		_, err := c.client().ListNodes(c.context(), nil)
		return err == nil
	})
	if !confined() {
		t.Fatalf("after a change of managers: %v", c.nodeInfo(g.GetLeader()))
	}
	c.eventually("the end is told", func() bool { return c.happened("quarantine_ended", "its time is over") })
	if info := c.nodeInfo(g.GetLeader()); info.GetQuarantineMs() != 0 || info.GetNote() != "" {
		t.Errorf("after the end: %v", info)
	}
}

func TestANodeThatDiesAgainAndAgainIsInQuarantine(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	flaps := c.nodes[0]
	id := flaps.number()
	for i := range 3 {
		if c.nodeInfo(id).GetQuarantineMs() > 0 {
			t.Fatalf("in quarantine after %d deaths", i)
		}
		flaps.kill()
		c.eventually(fmt.Sprintf("death %d is seen", i+1), func() bool { return c.nodeInfo(id).GetState() == "dead" })
		flaps.start()
		c.eventually(fmt.Sprintf("return %d is seen", i+1), func() bool { return c.nodeInfo(id).GetState() == "alive" })
	}
	c.eventually("quarantine", func() bool {
		return c.nodeInfo(id).GetQuarantineMs() > 0 && c.happened("quarantined", "it died 3 times")
	})
}

// TestManyNodesThatFallSilentKeepTheirLeaders freezes two of three: their silence
// is no death for a while, and when they are back everything is as it was.
func TestManyNodesThatFallSilentKeepTheirLeaders(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	g := c.createGroup(3)
	freeze := func(frozen bool) {
		defer c.nodes[0].lock()()
		c.nodes[0].frozen, c.nodes[1].frozen = frozen, frozen
	}
	freeze(true)
	c.eventually("it is told", func() bool { return c.happened("silence_ignored", "2 of 3 nodes fell silent at once") })
	time.Sleep(2 * time.Second) // longer than it takes to be dead
	freeze(false)
	for _, n := range c.nodes {
		c.eventually("all are alive", func() bool { return c.nodeInfo(n.number()).GetState() == "alive" })
	}
	now := c.awaitLeader(g.GetGroup(), 0)
	if now.GetLeader() != g.GetLeader() || now.GetAppointment() != g.GetAppointment() || c.happened("node_dead") {
		t.Fatalf("before %v, after %v; %q", g, now, c.events())
	}
}
