package clustermgr

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func (c *cluster) createVolume(name string, group uint64) *wirepb.VolumeInfo {
	c.t.Helper()
	v, err := c.client().CreateVolume(c.context(), &wirepb.CreateVolumeRequest{Name: name, Format: uint32(pinetree.FormatOpaque), Group: group})
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

// gone waits until no node that runs has a replica of the group, and tells
// whether the store knows the group.
func (c *cluster) gone(group uint64, store ledger.Store) (recorded bool) {
	c.t.Helper()
	c.eventually("no node that runs has a replica", func() bool {
		defer c.raft.mu.Unlock()
		c.raft.mu.Lock()
		for _, n := range c.raft.nodes {
			if n.replicas[group] != nil && n.up() {
				return false
			}
		}
		return true
	})
	entries, err := store.Read(c.t.Context(), ledger.Group{ID: pinetree.GroupID(group)}.Key())
	if err != nil {
		c.t.Fatal(err)
	}
	return len(entries) > 0
}

func TestAVolumeIsDeletedWithItsGroupAndItsNameIsFree(t *testing.T) {
	t.Parallel()
	store := ledger.NewMemory()
	c := newCluster(t, store, "a", "b", "c")
	v := c.createVolume("v", 0)
	c.awaitLeader(v.GetGroup(), 0)
	dead := c.byID(1)
	dead.kill()
	deleted, err := c.client().DeleteVolume(c.context(), &wirepb.DeleteVolumeRequest{Name: "v"})
	if err != nil || deleted.GetVolume() != v.GetVolume() || deleted.GetGroup() != v.GetGroup() {
		t.Fatalf("%v, %v", deleted, err)
	}
	if _, err := c.client().DeleteVolume(c.context(), &wirepb.DeleteVolumeRequest{Name: "v"}); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Errorf("deleted twice: %v", err)
	}
	for _, q := range []*wirepb.RouteRequest{{VolumeName: "v"}, {Volume: v.GetVolume()}} {
		if _, err := c.client().Route(c.context(), q); !errors.Is(err, pinetree.ErrUnknownVolume) {
			t.Errorf("route %v: %v", q, err)
		}
	}
	if _, err := c.client().ListGroups(c.context(), &wirepb.ListGroupsRequest{Group: v.GetGroup()}); !errors.Is(err, pinetree.ErrUnknownGroup) {
		t.Errorf("the group is still shown: %v", err)
	}
	if !c.gone(v.GetGroup(), store) {
		t.Error("the record is forgotten while a node that is away has a replica")
	}
	dead.start()
	c.eventually("the record is forgotten", func() bool { return !c.gone(v.GetGroup(), store) })
	again := c.createVolume("v", 0)
	if again.GetVolume() <= v.GetVolume() || again.GetGroup() <= v.GetGroup() {
		t.Errorf("made again as %v, it was %v", again, v)
	}
	for _, want := range []string{"group_deleted", "replica_removed", "group_forgotten"} {
		if !c.tells(want) {
			t.Errorf("no event %s: %q", want, c.events())
		}
	}
}

func TestWhatIsInUseIsNotDeleted(t *testing.T) {
	t.Parallel()
	store := ledger.NewMemory()
	c := newCluster(t, store, "a", "b", "c")
	g := c.createGroup(3)
	c.createVolume("one", g.GetGroup())
	_, err := c.client().DeleteGroup(c.context(), &wirepb.DeleteGroupRequest{Group: g.GetGroup()})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "has 1 volumes, one among them") {
		t.Errorf("a group with a volume: %v", err)
	}
	c.createVolume("two", g.GetGroup())
	if _, err := c.client().DeleteGroup(c.context(), &wirepb.DeleteGroupRequest{Group: 99}); !errors.Is(err, pinetree.ErrUnknownGroup) {
		t.Errorf("a group that is not there: %v", err)
	}
	empty := c.createGroup(1)
	if _, err := c.client().DeleteGroup(c.context(), &wirepb.DeleteGroupRequest{Group: empty.GetGroup()}); err != nil {
		t.Errorf("an empty group: %v", err)
	}
	c.eventually("the empty group is forgotten", func() bool { return !c.gone(empty.GetGroup(), store) })
	if c.group(g.GetGroup()).GetLeader() == 0 {
		t.Errorf("the other group has no leader: %v", c.group(g.GetGroup()))
	}
}

// TestAVolumeIsDeletedWhereOthersStay: its name is free at once, for a volume with
// another id, while its group may still have it.
func TestAVolumeIsDeletedWhereOthersStay(t *testing.T) {
	t.Parallel()
	store := ledger.NewMemory()
	c := newCluster(t, store, "a", "b", "c")
	g := c.createGroup(3).GetGroup()
	one, two := c.createVolume("one", g), c.createVolume("two", g)
	leader := c.byID(c.group(g).GetLeader())
	has := func(volume uint64) bool {
		defer leader.lock()()
		_, there := leader.replicas[g].volumes[volume]
		return there
	}
	unlock := leader.lock()
	leader.frozen = true // it answers nothing
	unlock()
	answer, err := c.client().DeleteVolume(c.context(), &wirepb.DeleteVolumeRequest{Name: "one"})
	if err != nil || answer.GetVolume() != one.GetVolume() || answer.GetGroup() != 0 {
		t.Fatalf("%v, %v", answer, err)
	}
	if _, err := c.client().Route(c.context(), &wirepb.RouteRequest{VolumeName: "one"}); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Errorf("its route: %v", err)
	}
	if _, err := c.client().Route(c.context(), &wirepb.RouteRequest{Volume: one.GetVolume()}); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Errorf("its route by id: %v", err)
	}
	if !has(one.GetVolume()) {
		t.Error("the frozen leader has dropped it")
	}
	unlock = leader.lock()
	leader.frozen = false
	unlock()
	again := c.createVolume("one", g)
	if again.GetVolume() <= two.GetVolume() || again.GetVolume() == one.GetVolume() {
		t.Errorf("made again as %v, it was %v", again, one)
	}
	c.eventually("its record is gone, and the others stay", func() bool {
		entries, err := store.Read(c.context(), "volumes/")
		return err == nil && len(entries) == 2 && c.tells("volume_deleted") && c.tells("volume_dropped")
	})
	if c.group(g).GetVolumes() != 2 {
		t.Errorf("the group has %d volumes", c.group(g).GetVolumes())
	}
	for _, name := range []string{"one", "two"} {
		if route, err := c.client().Route(c.context(), &wirepb.RouteRequest{VolumeName: name}); err != nil || route.GetVolume().GetGroup() != g {
			t.Errorf("the route of %s: %v, %v", name, route, err)
		}
	}
}

// TestAManagerThatStopsInTheMiddleOfADeletionIsSucceeded ends the active manager
// after a node was ordered to remove its replica and before it answered.
func TestAManagerThatStopsInTheMiddleOfADeletionIsSucceeded(t *testing.T) {
	t.Parallel()
	store := ledger.NewMemory()
	c := newCluster(t, store, "a", "b", "c")
	v := c.createVolume("v", 0)
	holding := func(order string) {
		for id := uint64(1); id <= 3; id++ {
			n := c.byID(id)
			unlock := n.lock()
			n.hold = order
			unlock()
		}
	}
	holding("remove replica")
	if _, err := c.client().DeleteVolume(c.context(), &wirepb.DeleteVolumeRequest{Name: "v"}); err != nil {
		t.Fatal(err)
	}
	c.eventually("a node was ordered", func() bool {
		return c.ordered(1, "remove replica")+c.ordered(2, "remove replica")+c.ordered(3, "remove replica") > 0
	})
	c.managers[0].end()
	c.managers = c.managers[1:]
	holding("")
	c.manager(1)
	c.eventually("the record is forgotten", func() bool { return !c.gone(v.GetGroup(), store) })
	if _, err := c.client().Route(c.context(), &wirepb.RouteRequest{VolumeName: "v"}); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Errorf("the volume is back: %v", err)
	}
}

// TestAGroupIsDeletedWhileItIsBeingMade: whoever waits for it is told.
func TestAGroupIsDeletedWhileItIsBeingMade(t *testing.T) {
	t.Parallel()
	store := ledger.NewMemory()
	c := newCluster(t, store, "a", "b", "c")
	n := c.byID(3)
	unlock := n.lock()
	n.frozen = true
	unlock()
	made := make(chan error, 1)
	go func() {
		_, err := c.client().CreateVolume(c.context(), &wirepb.CreateVolumeRequest{Name: "v", Format: uint32(pinetree.FormatOpaque)})
		made <- err
	}()
	time.Sleep(50 * time.Millisecond)
	c.eventually("it can be deleted", func() bool {
		_, err := c.client().DeleteVolume(c.context(), &wirepb.DeleteVolumeRequest{Name: "v"})
		return err == nil
	})
	if err := <-made; !errors.Is(err, pinetree.ErrUnknownVolume) || !strings.Contains(err.Error(), "deleted before it was made") {
		t.Errorf("who made it heard %v", err)
	}
	unlock = n.lock()
	n.frozen = false
	unlock()
	c.eventually("the record is forgotten", func() bool { return !c.gone(1, store) })
}

// TestNoVolumeIsMadeInAGroupThatIsBeingDeleted lets the two orders race: one of
// them is refused.
func TestNoVolumeIsMadeInAGroupThatIsBeingDeleted(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a")
	refusals := 0
	for i := range 40 {
		g := c.createGroup(1).GetGroup()
		made := make(chan error, 1)
		ctx, cancel := context.WithTimeout(c.context(), 2*time.Second)
		go func() {
			_, err := c.client().CreateVolume(ctx, &wirepb.CreateVolumeRequest{Name: fmt.Sprint("v", i), Format: uint32(pinetree.FormatOpaque), Group: g})
			made <- err
		}()
		_, deleting := c.client().DeleteGroup(c.context(), &wirepb.DeleteGroupRequest{Group: g})
		making := <-made
		cancel()
		if (deleting == nil) == (making == nil) {
			t.Fatalf("group %d: made a volume: %v; deleted the group: %v", g, making, deleting)
		}
		if making != nil {
			refusals++
		}
	}
	t.Logf("%d of 40 volumes came too late", refusals)
}
