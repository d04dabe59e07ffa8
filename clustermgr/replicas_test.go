package clustermgr

import (
	"context"
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
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// newGroupOf makes a group of three with a leased leader in a cluster of four
// nodes, and tells the leader, two followers and the spare node.
func newGroupOf(t *testing.T, store ledger.Store) (c *cluster, group uint64, leader, follower, other, spare uint64) {
	t.Helper()
	c = newCluster(t, store, "a", "b", "c")
	g := c.createGroup(3)
	c.awaitLeader(g.GetGroup(), 0)
	c.node("d")
	var followers []uint64
	for id := uint64(1); id <= 3; id++ {
		if id != g.GetLeader() {
			followers = append(followers, id)
		}
	}
	return c, g.GetGroup(), g.GetLeader(), followers[0], followers[1], 4
}

func (c *cluster) change(group, add, remove uint64) (*wirepb.GroupInfo, error) {
	return c.client().ChangeReplicas(c.context(), &wirepb.ChangeReplicasRequest{Group: group, Add: add, Remove: remove})
}

func sorted(ids ...uint64) []uint64 { slices.Sort(ids); return ids }

// settled waits until a group has exactly these voters, each with a replica that
// knows them, a leased leader among them, and nobody else has files.
func (c *cluster) settled(group uint64, voters ...uint64) {
	c.t.Helper()
	slices.Sort(voters)
	var g *wirepb.GroupInfo
	c.eventually(fmt.Sprintf("group %d has the voters %v", group, voters), func() bool {
		g = c.group(group)
		defer c.raft.mu.Unlock()
		c.raft.mu.Lock()
		for id, n := range c.raft.nodes {
			r := n.replicas[group]
			if votes := slices.Contains(voters, uint64(id)); votes != (r != nil) || votes && !slices.Equal(r.voters, voters) {
				return false
			}
		}
		return slices.Equal(g.GetVoters(), voters) && g.GetChange() == "" && len(g.GetRemoved()) == 0 && len(g.GetLearners()) == 0 &&
			slices.Contains(voters, g.GetLeader()) && g.GetLeased()
	})
}

func (c *cluster) ordered(node uint64, order string) int {
	n := c.byID(node)
	defer n.lock()()
	return n.orders[order]
}

func TestAReplicaIsAddedRemovedAndReplaced(t *testing.T) {
	t.Parallel()
	c, g, leader, follower, other, spare := newGroupOf(t, ledger.NewMemory())
	info, err := c.change(g, spare, 0)
	if err != nil || !slices.Equal(info.GetVoters(), []uint64{1, 2, 3, 4}) || info.GetChange() != "" {
		t.Fatalf("add: %v, %v", info, err)
	}
	if n := c.ordered(leader, "change members"); n != 2 {
		t.Errorf("%d changes of members for an added replica; it learns first and votes then", n)
	}
	if _, err = c.change(g, 0, follower); err != nil {
		t.Fatalf("remove: %v", err)
	}
	c.settled(g, leader, other, spare)
	if n := c.ordered(leader, "change members"); n != 3 {
		t.Errorf("%d changes of members after a removal", n)
	}
	// The node that was removed comes back, in the place of another.
	if _, err = c.change(g, follower, other); err != nil {
		t.Fatalf("replace: %v", err)
	}
	c.settled(g, leader, follower, spare)
	if n := c.ordered(leader, "change members"); n != 5 {
		t.Errorf("%d changes of members; a replacement is one to add and a joint one", n)
	}
	for _, want := range []string{"change_recorded", "members_changed", "replicas_changed", "replica_removed"} {
		if !c.tells(want) {
			t.Errorf("no event %s: %q", want, c.events())
		}
	}
}

func TestTheLeaderIsReplacedAfterItHandedOver(t *testing.T) {
	t.Parallel()
	for name, add := range map[string]bool{"removed": false, "replaced": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, g, leader, follower, other, spare := newGroupOf(t, ledger.NewMemory())
			if !add {
				spare = 0
			}
			if _, err := c.change(g, spare, leader); err != nil {
				t.Fatal(err)
			}
			if add {
				c.settled(g, follower, other, spare)
			} else {
				c.settled(g, follower, other)
			}
			if !c.tells("moved", "from release to activation") || c.happened("unexpected_leader") {
				t.Errorf("the leadership was not handed over: %q", c.events())
			}
		})
	}
}

func TestAGroupOfOneMovesToAnotherNode(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b")
	g := c.createGroup(1)
	// The new leader answers its order late, so that for a while it leads and is
	// no voter by the record.
	next := c.byID(3 - g.GetLeader())
	unlock := next.lock()
	next.hold = "change members"
	unlock()
	if _, err := c.change(g.GetGroup(), uint64(next.id), g.GetLeader()); err != nil {
		t.Fatal(err)
	}
	c.settled(g.GetGroup(), uint64(next.id))
	if now := c.group(g.GetGroup()); now.GetAppointment() != g.GetAppointment()+1 {
		t.Errorf("appointment %d, it was %d: %q", now.GetAppointment(), g.GetAppointment(), c.events())
	}
}

func TestADeadReplicaIsReplacedAndItsFilesRemovedWhenItReturns(t *testing.T) {
	t.Parallel()
	c, g, leader, follower, other, spare := newGroupOf(t, ledger.NewMemory())
	dead := c.byID(follower)
	dead.kill()
	c.eventually("the death is noticed", func() bool { return c.happened("node_dead") })
	info, err := c.change(g, spare, follower)
	if err != nil || !slices.Equal(info.GetVoters(), sorted(leader, other, spare)) || !slices.Equal(info.GetRemoved(), []uint64{follower}) {
		t.Fatalf("%v, %v", info, err)
	}
	if _, err := c.change(g, follower, 0); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "may still have files") {
		t.Errorf("added again with its old files: %v", err)
	}
	dead.start()
	c.settled(g, leader, other, spare)
	if _, err := c.change(g, follower, 0); err != nil {
		t.Errorf("added again with none: %v", err)
	}
	c.settled(g, leader, follower, other, spare)
}

func TestAChangeThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	c, g, leader, follower, other, spare := newGroupOf(t, ledger.NewMemory())
	single := c.createGroup(1)
	refused := func(what string, err error, is error, says string) {
		t.Helper()
		if err == nil || is != nil && !errors.Is(err, is) || is == nil && status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: want %v saying %q, got %v", what, is, says, err)
		}
	}
	try := func(group, add, remove uint64) error { _, err := c.change(group, add, remove); return err }
	refused("unknown group", try(99, spare, 0), pinetree.ErrUnknownGroup, "no group 99")
	refused("nothing", try(g, 0, 0), pinetree.ErrBadBatch, "no node to add")
	refused("unknown node", try(g, 99, 0), pinetree.ErrNotFound, "no node 99")
	refused("a voter added", try(g, follower, 0), pinetree.ErrExists, "already")
	refused("a stranger removed", try(g, 0, spare), pinetree.ErrNotFound, "no replica on node")
	refused("the last one removed", try(single.GetGroup(), 0, single.GetLeader()), nil, "no replica left")

	c.byID(spare).kill()
	c.eventually("the death is noticed", func() bool { return c.happened("node_dead 4") })
	refused("a dead node added", try(g, spare, 0), nil, "node 4, which is to get a replica, is dead")
	c.byID(spare).start()
	c.eventually("it is back", func() bool { return c.happened("node_alive 4") })
	c.byID(other).kill()
	c.eventually("the death is noticed", func() bool { return c.happened(fmt.Sprintf("node_dead %d", other)) })
	refused("below the quorum", try(g, 0, follower), nil, "no majority")
	if err := try(g, 0, other); err != nil {
		t.Errorf("the dead one is removed: %v", err)
	}
	if now := c.group(g); !slices.Equal(now.GetVoters(), sorted(leader, follower)) {
		t.Errorf("%v", now)
	}
}

func TestOneChangeAtATimeAndItCanBeGivenUp(t *testing.T) {
	t.Parallel()
	c, g, leader, follower, other, spare := newGroupOf(t, ledger.NewMemory())
	slow := c.byID(spare)
	unlock := slow.lock()
	slow.slow = true
	unlock()
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, err := c.change(g, spare, follower); first <- err }()
	c.eventually("the change waits for its learner", func() bool {
		now := c.group(g)
		return strings.Contains(now.GetChange(), "a snapshot as of index 9 is on its way to node 4") && slices.Equal(now.GetLearners(), []uint64{spare}) &&
			len(now.GetReplicas()) == 4 && now.GetReplicas()[3].GetProgress().GetSnapshot() == 9
	})
	go func() { _, err := c.change(g, spare, follower); second <- err }()
	if _, err := c.change(g, spare, 0); !errors.Is(err, pinetree.ErrQueueFull) {
		t.Errorf("another change: %v", err)
	}
	if _, err := c.change(g, 0, other); !errors.Is(err, pinetree.ErrQueueFull) {
		t.Errorf("another change: %v", err)
	}
	// The leader dies, and the group finds another while the change waits.
	c.byID(leader).kill()
	next := c.awaitLeader(g, leader)
	c.byID(leader).start()
	if !strings.Contains(c.group(g).GetChange(), "replace the replica") {
		t.Errorf("the change is lost: %v", next)
	}
	if _, err := c.change(g, 0, spare); err != nil {
		t.Errorf("giving up: %v", err)
	}
	for _, ended := range []chan error{first, second} {
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "given up") {
			t.Errorf("who waited for it heard %v", err)
		}
	}
	c.settled(g, 1, 2, 3)
}

// TestAManagerThatStopsInTheMiddleOfAChangeIsSucceeded ends the active manager
// after each order of a change was carried out and before its answer came.
func TestAManagerThatStopsInTheMiddleOfAChangeIsSucceeded(t *testing.T) {
	t.Parallel()
	type place struct {
		order string
		count int // how many of the kind were begun when the manager ends
	}
	for _, at := range []place{{"create replica", 1}, {"change members", 1}, {"change members", 2}, {"remove replica", 1}} {
		t.Run(fmt.Sprintf("%s %d", at.order, at.count), func(t *testing.T) {
			t.Parallel()
			c, g, leader, follower, other, spare := newGroupOf(t, ledger.NewMemory())
			target := map[string]uint64{"create replica": spare, "change members": leader, "remove replica": follower}[at.order]
			node := c.byID(target)
			before := c.ordered(target, at.order)
			holding := func(order string) { defer node.lock()(); node.hold = order }
			if at.count == 1 {
				holding(at.order)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			ended := make(chan error, 1)
			client := c.client()
			go func() {
				_, err := client.ChangeReplicas(ctx, &wirepb.ChangeReplicasRequest{Group: g, Add: spare, Remove: follower})
				ended <- err
			}()
			c.eventually("the order was given", func() bool { return c.ordered(target, at.order) >= before+at.count })
			c.managers[0].end()
			c.managers = c.managers[1:]
			<-ended
			holding("")
			c.manager(1)
			c.eventually("the next manager is active", func() bool { return c.group(g).GetLeader() != 0 })
			c.settled(g, leader, other, spare)
			if n := c.ordered(leader, "change members"); n > 3 {
				t.Errorf("%d changes of members were ordered", n)
			}
		})
	}
}

// TestHowLongANodeHasBeenDeadIsToldAsOfNow, though nothing happens in between that
// has the manager look at the whole cluster.
func TestHowLongANodeHasBeenDeadIsToldAsOfNow(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	g := c.createGroup(3)
	c.byID(g.GetVoters()[slices.IndexFunc(g.GetVoters(), func(id uint64) bool { return id != g.GetLeader() })]).kill()
	for _, age := range []string{"dead for 1s; its replica is replaced in 4m59s", "dead for 2s; its replica is replaced in 4m58s"} {
		c.eventually(age, func() bool {
			list, err := c.client().ListGroups(c.context(), &wirepb.ListGroupsRequest{Group: g.GetGroup()})
			return err == nil && len(list.GetGroups()) == 1 && strings.Contains(strings.Join(list.GetGroups()[0].GetWords(), "\n"), age)
		})
	}
}
