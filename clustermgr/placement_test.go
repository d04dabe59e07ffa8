package clustermgr

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/upkeep"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// impatient replaces lost replicas soon and moves none for balance.
func impatient(_ int, cfg *Config) {
	cfg.DeadAfter = 600 * time.Millisecond
	cfg.Replicas = upkeep.ReplicaRules{ReplaceAfter: 300 * time.Millisecond, AbandonAfter: 200 * time.Millisecond, Calm: time.Hour}
}

// newImpatientGroup makes a group of three with a leased leader, and then starts a
// spare node, which is in the zone of node 3.
func newImpatientGroup(t *testing.T, store ledger.Store) (c *cluster, group, leader uint64, followers []uint64) {
	t.Helper()
	c = newTunedCluster(t, store, impatient, "a", "b", "c")
	g := c.createGroup(3)
	c.awaitLeader(g.GetGroup(), 0)
	c.node("c")
	for id := uint64(1); id <= 3; id++ {
		if id != g.GetLeader() {
			followers = append(followers, id)
		}
	}
	return c, g.GetGroup(), g.GetLeader(), followers
}

// replaced waits until the voters of a group are these, by the manager's word.
func (c *cluster) replaced(group uint64, voters ...uint64) {
	c.t.Helper()
	slices.Sort(voters)
	c.eventually(fmt.Sprintf("group %d has the voters %v", group, voters), func() bool {
		g := c.group(group)
		return slices.Equal(g.GetVoters(), voters) && g.GetChange() == "" && g.GetLeased()
	})
}

func TestAReplicaOfADeadNodeIsReplacedByTheManager(t *testing.T) {
	t.Parallel()
	c, g, leader, followers := newImpatientGroup(t, ledger.NewMemory())
	dead := c.byID(followers[0])
	dead.kill()
	c.replaced(g, leader, followers[1], 4)
	if !c.tells("change_recorded", "has been dead for", "replace the replica of node") {
		t.Errorf("no reason: %q", c.events())
	}
	dead.start()
	c.settled(g, leader, followers[1], 4) // and nothing is left on it
}

// TestANewGroupAvoidsANodeThatIsLowOnSpace, but not so far that its replicas would
// share a zone or would be too few.
func TestANewGroupAvoidsANodeThatIsLowOnSpace(t *testing.T) {
	t.Parallel()
	c := newTunedCluster(t, ledger.NewMemory(), impatient, "a", "a", "a", "a")
	full := c.byID(1)
	unlock := full.lock()
	full.space = "throttle"
	unlock()
	c.eventually("the manager knows of it", func() bool { return c.nodeInfo(1).GetSpace() == "throttle" })
	if g := c.createGroup(3); !slices.Equal(g.GetVoters(), []uint64{2, 3, 4}) {
		t.Errorf("the voters are %v", g.GetVoters())
	}
	c.byID(4).kill()
	c.eventually("node 4 is dead", func() bool { return c.nodeInfo(4).GetState() == "dead" })
	if g := c.createGroup(3); !slices.Equal(g.GetVoters(), []uint64{1, 2, 3}) {
		t.Errorf("where no other node is left the voters are %v", g.GetVoters())
	}
}

func TestALostReplicaIsReplacedByTheManager(t *testing.T) {
	t.Parallel()
	c, g, leader, followers := newImpatientGroup(t, ledger.NewMemory())
	lost := c.byID(followers[0])
	unlock := lost.lock()
	delete(lost.replicas, g)
	unlock()
	c.settled(g, leader, followers[1], 4)
	if !c.tells("change_recorded", "the node does not have it any more") {
		t.Errorf("no reason: %q", c.events())
	}
}

func TestAReplacementIsGivenUpWhenItsNodeDies(t *testing.T) {
	t.Parallel()
	c, g, leader, followers := newImpatientGroup(t, ledger.NewMemory())
	c.node("d")
	spare := c.byID(4)
	unlock := spare.lock()
	spare.slow = true
	unlock()
	// Node 5 is in a worse zone only if the dead one was not in it; make sure that
	// node 4 is taken first.
	other := c.byID(5)
	freeze := func(frozen bool) { defer other.lock()(); other.frozen = frozen }
	freeze(true)
	c.eventually("the other spare is not well", func() bool { return c.happened("node_dead 5") || c.happened("node_silent 5") })
	c.byID(followers[0]).kill()
	c.eventually("the spare learns", func() bool { return slices.Contains(c.group(g).GetLearners(), 4) })
	freeze(false)
	spare.kill()
	c.replaced(g, leader, followers[1], 5)
	if !c.tells("change_recorded", "node 4 has been dead for", "remove the replica of node 4") {
		t.Errorf("it was not given up: %q", c.events())
	}
}

func TestANodeThatOnlyDrainsKeepsItsReplicas(t *testing.T) {
	t.Parallel()
	c, g, leader, followers := newImpatientGroup(t, ledger.NewMemory())
	if _, err := c.client().DrainNode(c.context(), &wirepb.DrainNodeRequest{Node: followers[0]}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	c.byID(followers[0]).kill()
	c.eventually("it is said why nothing is done", func() bool {
		return slices.ContainsFunc(c.group(g).GetWords(), func(w string) bool { return strings.Contains(w, "was draining, so its replica is not replaced") })
	})
	if c.happened("change_recorded") {
		t.Errorf("replaced: %q", c.events())
	}
	if _, err := c.client().DrainNode(c.context(), &wirepb.DrainNodeRequest{Node: followers[0], Undrain: true}); err != nil {
		t.Fatal(err)
	}
	c.replaced(g, leader, followers[1], 4)
}

func TestANodeIsRemovedAndItsIdIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	store := ledger.NewMemory()
	c, g, leader, followers := newImpatientGroup(t, store)
	remove := func(node uint64, stay bool) (*wirepb.RemoveNodeResponse, error) {
		return c.client().RemoveNode(c.context(), &wirepb.RemoveNodeRequest{Node: node, Stay: stay})
	}
	if _, err := remove(99, false); !errors.Is(err, pinetree.ErrNotFound) {
		t.Errorf("a node that there is not: %v", err)
	}
	// The leader leaves: it hands over, and then gives up its replica.
	gone := c.byID(leader)
	info, err := remove(leader, false)
	if err != nil || info.GetRemoved() || !info.GetInfo().GetLeaving() {
		t.Fatalf("%v, %v", info, err)
	}
	c.settled(g, followers[0], followers[1], 4)
	c.eventually("the node is forgotten", func() bool {
		again, err := remove(leader, false)
		return err == nil && again.GetRemoved()
	})
	nodes, err := c.client().ListNodes(c.context(), &wirepb.ListNodesRequest{})
	if err != nil || len(nodes.GetNodes()) != 3 {
		t.Errorf("%v, %v", nodes, err)
	}
	if _, err := remove(leader, true); !errors.Is(err, pinetree.ErrNotFound) || !strings.Contains(err.Error(), "was removed") {
		t.Errorf("it is to stay after all: %v", err)
	}
	_, err = c.client().Register(c.context(), &wirepb.RegisterRequest{Node: leader, Instance: gone.instance, Address: gone.address, Cluster: gone.cluster})
	if !errors.Is(err, pinetree.ErrNotFound) || !strings.Contains(err.Error(), "start its process with an empty directory") {
		t.Errorf("its process registers again: %v", err)
	}
	if n := c.node("a"); n.id != 5 {
		t.Errorf("a new node is %d", n.id)
	}
	// Of three nodes none can leave a group of three.
	c.byID(5).kill()
	c.eventually("the death is noticed", func() bool { return c.happened("node_dead 5") })
	if _, err := remove(4, false); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "start another node first") {
		t.Errorf("nobody takes its replica: %v", err)
	}
	// A dead node is removed, too, even while it has former replicas.
	if info, err := remove(5, false); err != nil {
		t.Errorf("%v, %v", info, err)
	}
	c.eventually("the dead node is forgotten", func() bool { return c.happened("node_removed 5") })
}

func TestANodeThatWasToLeaveMayStay(t *testing.T) {
	t.Parallel()
	store := ledger.NewMemory()
	c, g, leader, followers := newImpatientGroup(t, store)
	spare := c.byID(4)
	unlock := spare.lock()
	spare.slow = true
	unlock()
	if _, err := c.client().RemoveNode(c.context(), &wirepb.RemoveNodeRequest{Node: followers[0]}); err != nil {
		t.Fatal(err)
	}
	c.eventually("the spare learns", func() bool { return slices.Contains(c.group(g).GetLearners(), 4) })
	// The next manager knows of it.
	c.managers[0].end()
	c.managers = c.managers[1:]
	c.manager(1)
	leaving := func() bool {
		nodes, err := c.client().ListNodes(c.context(), &wirepb.ListNodesRequest{})
		return err == nil && slices.ContainsFunc(nodes.GetNodes(), func(n *wirepb.NodeInfo) bool { return n.GetNode() == followers[0] && n.GetLeaving() })
	}
	c.eventually("the node is still to leave", leaving)
	info, err := c.client().RemoveNode(c.context(), &wirepb.RemoveNodeRequest{Node: followers[0], Stay: true})
	if err != nil || info.GetInfo().GetLeaving() || leaving() {
		t.Fatalf("%v, %v", info, err)
	}
	// What is under way is an ordinary change, which an operator may give up.
	if _, err := c.change(g, 0, 4); err != nil {
		t.Fatal(err)
	}
	c.settled(g, leader, followers[0], followers[1])
}

func TestSafeToStop(t *testing.T) {
	t.Parallel()
	c, _, leader, followers := newImpatientGroup(t, ledger.NewMemory())
	ask := func(node uint64) *wirepb.SafeToStopResponse {
		t.Helper()
		answer, err := c.client().SafeToStop(c.context(), &wirepb.SafeToStopRequest{Node: node})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if a := ask(followers[0]); !a.GetSafe() || len(a.GetReasons())+len(a.GetNotes()) != 0 {
		t.Errorf("a follower: %v", a)
	}
	if a := ask(leader); !a.GetSafe() || len(a.GetNotes()) != 1 || !strings.Contains(a.GetNotes()[0], "drain node") {
		t.Errorf("the leader: %v", a)
	}
	if _, err := c.client().DrainNode(c.context(), &wirepb.DrainNodeRequest{Node: followers[1]}); err != nil {
		t.Fatal(err)
	}
	if a := ask(followers[0]); a.GetSafe() || len(a.GetReasons()) != 1 || !strings.Contains(a.GetReasons()[0], "would lose its quorum") {
		t.Errorf("with another one that drains: %v", a)
	}
	if a := ask(4); !a.GetSafe() {
		t.Errorf("the spare: %v", a)
	}
	if _, err := c.client().SafeToStop(c.context(), &wirepb.SafeToStopRequest{Node: 99}); !errors.Is(err, pinetree.ErrNotFound) {
		t.Errorf("a node that there is not: %v", err)
	}
}
