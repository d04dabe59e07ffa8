package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// leads waits until the manager says that a node leads so many groups, or more.
func (c *cluster) leads(n *node, limit time.Duration, enough func(leaders uint32) bool) {
	c.t.Helper()
	within(c.t, limit, fmt.Sprintf("%s has its number of leaders", n.name), func() error {
		list, err := c.manages().ListNodes(c.within(2*time.Second), &wirepb.ListNodesRequest{})
		if err != nil {
			return err
		}
		for _, info := range list.Nodes {
			if info.Node == uint64(n.id) && enough(info.Leaders) {
				return nil
			}
		}
		return fmt.Errorf("the manager says %v", list.Nodes)
	})
}

// ledElsewhere waits until every group has a leader under a lease, and none on the
// node. While a leader is moved, nobody counts as one.
func (c *cluster) ledElsewhere(n *node, limit time.Duration) {
	c.t.Helper()
	within(c.t, limit, n.name+" leads nothing, and others lead", func() error {
		list, err := c.manages().ListGroups(c.within(2*time.Second), &wirepb.ListGroupsRequest{})
		if err != nil {
			return err
		}
		for _, g := range list.Groups {
			if g.Leader == 0 || g.Leader == uint64(n.id) || !g.Leased {
				return fmt.Errorf("group %d: leader %d, leased %v: %s", g.Group, g.Leader, g.Leased, g.Reason)
			}
		}
		return nil
	})
}

// TestADrainedNodeStaysDrainedUnderLoad drains the node of the leader under a
// writer: its leaders go, none comes back when it or the manager is killed and
// starts again, and it may lead again once it is undrained. The writer never ends,
// and nothing of what was acknowledged is lost.
func TestADrainedNodeStaysDrainedUnderLoad(t *testing.T) {
	beside(t)
	none := func(leaders uint32) bool { return leaders == 0 }
	c := startReachable(t, 3)
	volume := c.createVolume("v", pinetree.FormatOpaque)
	for i := range 5 {
		c.createVolume(fmt.Sprintf("w%d", i), pinetree.FormatOpaque)
	}
	l := c.load("v")
	l.more(1 << 16)
	drained := c.byID(uint64(l.meter.leader()))
	c.leads(drained, 10*time.Second, func(leaders uint32) bool { return leaders == 2 })
	drain := func(undrain bool) {
		within(t, 20*time.Second, "the manager takes the order", func() error {
			info, err := c.manages().DrainNode(c.within(2*time.Second), &wirepb.DrainNodeRequest{Node: uint64(drained.id), Undrain: undrain})
			if err == nil && info.Draining == undrain {
				err = fmt.Errorf("%v", info)
			}
			return err
		})
	}
	began := time.Now()
	drain(false)
	c.ledElsewhere(drained, 20*time.Second)
	t.Logf("drained in %v, with no acknowledgement for at most %v", time.Since(began).Round(time.Millisecond), l.meter.longest(began).Round(time.Millisecond))
	l.more(1 << 16)

	c.manager.kill()
	drained.kill()
	l.more(1 << 16)
	c.manager.start()
	drained.start()
	c.settled(volume.Group)
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		c.leads(drained, 5*time.Second, none)
	}
	if _, err := c.manages().MoveLeader(c.within(10*time.Second), &wirepb.MoveLeaderRequest{Group: volume.Group, To: uint64(drained.id)}); err == nil {
		t.Error("a leader was moved to a node that drains")
	}
	drain(true)
	within(t, 20*time.Second, "a leader is moved to the node that drains no more", func() error {
		moved, err := c.manages().MoveLeader(c.within(10*time.Second), &wirepb.MoveLeaderRequest{Group: volume.Group, To: uint64(drained.id)})
		if err == nil && !moved.Moved {
			err = fmt.Errorf("%s", moved.Reason)
		}
		return err
	})
	l.more(1 << 16)
	c.verify(volume.Volume, l.end())
}
