package clustermgr

import (
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/upkeep"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// hasty lets managers put leaders in order as soon as they may.
func hasty(_ int, cfg *Config) {
	cfg.UpkeepPace = 10 * time.Millisecond
	cfg.Leaders = upkeep.LeaderRules{Again: 50 * time.Millisecond, Calm: 300 * time.Millisecond, Trust: 300 * time.Millisecond}
}

func TestLeadersReturnHomeAndStayWhereAnOperatorPutsThem(t *testing.T) {
	t.Parallel()
	c := newTunedCluster(t, ledger.NewMemory(), hasty, "a", "b", "c")
	g, err := c.client().CreateGroup(c.context(), &wirepb.CreateGroupRequest{HomeZone: "a"})
	if err != nil {
		t.Fatal(err)
	}
	home := g.GetGroup()
	if g.GetLeader() != 1 {
		t.Fatalf("node %d leads a group whose home is with node 1", g.GetLeader())
	}
	c.byID(1).kill()
	c.awaitLeader(home, 1)
	c.byID(1).start()
	c.eventually("its leader is at home again", func() bool { return c.group(home).GetLeader() == 1 && c.group(home).GetLeased() })
	c.eventually("the event says why", func() bool { return c.happened("moved 1", `zone "a" is its home`) })

	moved, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: home, To: 2})
	if err != nil || !moved.GetMoved() {
		t.Fatalf("move: %v, %v", moved, err)
	}
	c.managers[0].end() // the operator's word outlives the manager
	c.managers = nil
	c.manager(0)
	c.awaitLeader(home, 0)
	for began := time.Now(); time.Since(began) < 2*time.Second; time.Sleep(20 * time.Millisecond) {
		if now := c.group(home); now.GetLeader() != 0 && now.GetLeader() != 2 {
			t.Fatalf("node %d leads; an operator had moved it to node 2: %q", now.GetLeader(), c.events())
		}
	}
	// Draining the node is the newer word.
	if _, err := c.client().DrainNode(c.context(), &wirepb.DrainNodeRequest{Node: 2}); err != nil {
		t.Fatal(err)
	}
	c.eventually("its leader is at home", func() bool { return c.group(home).GetLeader() == 1 })
}

func TestANodeThatIsUndrainedGetsItsShareOfLeaders(t *testing.T) {
	t.Parallel()
	c := newTunedCluster(t, ledger.NewMemory(), hasty, "a", "b", "c")
	for range 6 {
		c.createGroup(3)
	}
	if _, err := c.client().DrainNode(c.context(), &wirepb.DrainNodeRequest{Node: 1}); err != nil {
		t.Fatal(err)
	}
	c.eventually("the others lead three each", func() bool { return c.leads(1) == 0 && c.leads(2) == 3 && c.leads(3) == 3 })
	if _, err := c.client().DrainNode(c.context(), &wirepb.DrainNodeRequest{Node: 1, Undrain: true}); err != nil {
		t.Fatal(err)
	}
	c.eventually("each leads two", func() bool { return c.leads(1) == 2 && c.leads(2) == 2 && c.leads(3) == 2 })
	time.Sleep(300 * time.Millisecond) // events are told once they are written
	before := len(c.events())
	time.Sleep(time.Second)
	if after := c.events(); len(after) != before || c.happened("move_aborted") {
		t.Errorf("something happened in an even cluster: %q", after[before:])
	}
}
