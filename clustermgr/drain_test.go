package clustermgr

import (
	"errors"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// leads counts the groups whose leader, as the manager lists it, is the node.
func (c *cluster) leads(id uint64) int { return int(c.nodeInfo(id).GetLeaders()) }

func (c *cluster) nodeInfo(id uint64) *wirepb.NodeInfo {
	list, err := c.client().ListNodes(c.context(), &wirepb.ListNodesRequest{})
	if err != nil {
		return &wirepb.NodeInfo{Note: err.Error(), Leaders: 999}
	}
	for _, n := range list.GetNodes() {
		if n.GetNode() == id {
			return n
		}
	}
	c.t.Fatalf("node %d is not listed", id)
	return nil
}

func TestADrainedNodeLeadsNothingUntilItIsUndrained(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	for range 6 {
		c.createGroup(3)
	}
	if c.leads(1) == 0 {
		t.Fatal("node 1 leads nothing before the drain, so the test shows nothing")
	}
	info, err := c.client().DrainNode(c.context(), &wirepb.DrainNodeRequest{Node: 1})
	if err != nil || !info.GetDraining() {
		t.Fatalf("drain: %v, %v", info, err)
	}
	c.eventually("node 1 leads nothing", func() bool { return c.leads(1) == 0 })
	for g := uint64(1); g <= 6; g++ {
		c.awaitLeader(g, 1)
	}
	c.eventually("nothing is left to be moved", func() bool { return c.nodeInfo(1).GetNote() == "" })
	if !c.tells("node_draining 1", "operator") || !c.tells("moved", "node 1 is draining") {
		t.Errorf("events do not tell: %q", c.events())
	}
	// It is not appointed when another leader dies, nor moved to, nor is it by a
	// manager that takes office afterwards.
	if _, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: 1, To: 1}); err == nil || !strings.Contains(err.Error(), "draining") {
		t.Errorf("a move to the node that drains: %v", err)
	}
	c.managers[0].end()
	c.managers = nil
	c.manager(0)
	leader := c.awaitLeader(1, 1).GetLeader()
	c.byID(leader).kill()
	for g := uint64(1); g <= 6; g++ {
		if now := c.awaitLeader(g, leader); now.GetLeader() == 1 {
			t.Errorf("group %d: node 1 was appointed while it drains", g)
		}
	}
	if info, err = c.client().DrainNode(c.context(), &wirepb.DrainNodeRequest{Node: 1, Undrain: true}); err != nil || info.GetDraining() {
		t.Fatalf("undrain: %v, %v", info, err)
	}
	if moved, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: 1, To: 1}); err != nil || !moved.GetMoved() {
		t.Errorf("a move to the node after it was undrained: %v, %v", moved, err)
	}
	if _, err := c.client().DrainNode(c.context(), &wirepb.DrainNodeRequest{Node: 99}); !errors.Is(err, pinetree.ErrNotFound) {
		t.Errorf("drain of an unknown node: %v", err)
	}
}

func TestANodeThatDrainsLeadsWhenNobodyElseCan(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	g := c.createGroup(3)
	for id := uint64(1); id <= 3; id++ {
		if _, err := c.client().DrainNode(c.context(), &wirepb.DrainNodeRequest{Node: id}); err != nil {
			t.Fatal(err)
		}
	}
	c.eventually("the node says what it waits for", func() bool {
		note := c.nodeInfo(g.GetLeader()).GetNote()
		return strings.Contains(note, "one leader is still to be moved") && strings.Contains(note, "is draining")
	})
	c.byID(g.GetLeader()).kill()
	c.awaitLeader(g.GetGroup(), g.GetLeader())
	c.eventually("the event says why", func() bool { return c.happened("appointed", "draining, and no other replica can win") })
}
