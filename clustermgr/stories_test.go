package clustermgr

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// stories are all operations of a manager that take several decisions.
func stories() map[string]story {
	return map[string]story{
		"create a group":  {order: createsGroup, done: hasGroups(1), undone: hasGroups(0)},
		"create a volume": {order: createsVolume, done: hasVolume, undone: hasGroups(0)},
		"move a leader": {before: oneGroup, done: hasGroups(1), order: func(c *cluster) error {
			_, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: 1})
			return err
		}},
		"add a replica": {
			zones: fourZones, before: oneGroup, order: changes(spare, none), done: voters(4), undone: voters(3),
		},
		"remove a replica": {
			before: oneGroup, order: changes(none, follower), done: voters(2), undone: voters(3),
		},
		"remove the leader's replica": {
			before: oneGroup, order: changes(none, leading), done: voters(2), undone: voters(3),
		},
		"replace a replica": {
			zones: fourZones, before: oneGroup, order: changes(spare, follower), done: replaced, undone: voters(3),
		},
		"appoint after a leader's death": {before: oneGroup, done: hasGroups(1), order: func(c *cluster) error {
			was := leading(c)
			c.byID(was).kill()
			return nil
		}},
		"drain a node": {before: threeGroups, done: drained, undone: undrained, order: func(c *cluster) error {
			_, err := c.client().DrainNode(c.context(), &wirepb.DrainNodeRequest{Node: 1})
			return err
		}},
		"remove a node": {zones: fourZones, before: oneGroup, done: left, undone: stays, order: func(c *cluster) error {
			c.added = leading(c) // the one that goes
			_, err := c.client().RemoveNode(c.context(), &wirepb.RemoveNodeRequest{Node: c.added})
			return err
		}},
		"delete a volume": {before: oneVolume, done: hasGroups(0), undone: hasVolume, order: func(c *cluster) error {
			_, err := c.client().DeleteVolume(c.context(), &wirepb.DeleteVolumeRequest{Name: "v"})
			return err
		}},
		"delete one of two volumes": {before: twoVolumes, done: hasVolume, undone: hasTwo, order: func(c *cluster) error {
			_, err := c.client().DeleteVolume(c.context(), &wirepb.DeleteVolumeRequest{Name: "w"})
			return err
		}},
		"delete a group": {before: oneGroup, done: hasGroups(0), undone: hasGroups(1), order: func(c *cluster) error {
			_, err := c.client().DeleteGroup(c.context(), &wirepb.DeleteGroupRequest{Group: 1})
			return err
		}},
	}
}

var fourZones = []string{"a", "b", "c", "d"}

func oneGroup(c *cluster) { c.createGroup(3) }

func threeGroups(c *cluster) {
	for range 3 {
		c.createGroup(3)
	}
}

func oneVolume(c *cluster) {
	if err := createsVolume(c); err != nil {
		c.t.Fatal(err)
	}
}

// twoVolumes share a group.
func twoVolumes(c *cluster) {
	oneVolume(c)
	if _, err := c.client().CreateVolume(c.context(), &wirepb.CreateVolumeRequest{Name: "w", Format: 1, Group: 1}); err != nil {
		c.t.Fatal(err)
	}
}

func hasTwo(c *cluster) error {
	list, err := c.client().ListVolumes(c.context(), &wirepb.ListVolumesRequest{})
	if err == nil && len(list.GetVolumes()) != 2 {
		err = fmt.Errorf("%d volumes, want both", len(list.GetVolumes()))
	}
	return err
}

func createsGroup(c *cluster) error {
	_, err := c.client().CreateGroup(c.context(), &wirepb.CreateGroupRequest{Replicas: 3})
	return err
}

func createsVolume(c *cluster) error {
	_, err := c.client().CreateVolume(c.context(), &wirepb.CreateVolumeRequest{Name: "v", Format: 1})
	return err
}

// Nodes of the first group, by what they are in it.
func none(*cluster) uint64      { return 0 }
func leading(c *cluster) uint64 { return c.group(1).GetLeader() }
func follower(c *cluster) uint64 {
	g := c.group(1)
	return g.GetVoters()[slices.IndexFunc(g.GetVoters(), func(id uint64) bool { return id != g.GetLeader() })]
}

func spare(c *cluster) uint64 {
	voters := c.group(1).GetVoters()
	for id := uint64(1); ; id++ {
		if !slices.Contains(voters, id) {
			return id
		}
	}
}

func changes(add, remove func(*cluster) uint64) func(*cluster) error {
	return func(c *cluster) error {
		c.added = add(c)
		_, err := c.client().ChangeReplicas(c.context(), &wirepb.ChangeReplicasRequest{Group: 1, Add: c.added, Remove: remove(c)})
		return err
	}
}

func hasGroups(want int) func(*cluster) error {
	return func(c *cluster) error {
		list, err := c.client().ListGroups(c.context(), &wirepb.ListGroupsRequest{})
		if err == nil && len(list.GetGroups()) != want {
			err = fmt.Errorf("%d groups, want %d", len(list.GetGroups()), want)
		}
		return err
	}
}

func hasVolume(c *cluster) error {
	list, err := c.client().ListVolumes(c.context(), &wirepb.ListVolumesRequest{})
	if err == nil && len(list.GetVolumes()) != 1 {
		err = fmt.Errorf("%d volumes", len(list.GetVolumes()))
	}
	return errors.Join(err, hasGroups(1)(c))
}

func voters(want int) func(*cluster) error {
	return func(c *cluster) error {
		if g := c.group(1); len(g.GetVoters()) != want {
			return fmt.Errorf("voters %v, want %d of them", g.GetVoters(), want)
		}
		return nil
	}
}

func replaced(c *cluster) error {
	if g := c.group(1); !slices.Contains(g.GetVoters(), c.added) {
		return fmt.Errorf("voters %v, without node %d", g.GetVoters(), c.added)
	}
	return voters(3)(c)
}

func drained(c *cluster) error {
	if n := c.nodeInfo(1); !n.GetDraining() || n.GetLeaders() != 0 {
		return fmt.Errorf("node 1 leads %d groups, draining: %t", n.GetLeaders(), n.GetDraining())
	}
	return nil
}

func undrained(c *cluster) error {
	if n := c.nodeInfo(1); n.GetDraining() {
		return errors.New("node 1 is draining")
	}
	return nil
}

func (c *cluster) listed(id uint64) (*wirepb.NodeInfo, error) {
	list, err := c.client().ListNodes(c.context(), &wirepb.ListNodesRequest{})
	for _, n := range list.GetNodes() {
		if n.GetNode() == id {
			return n, err
		}
	}
	return nil, err
}

// left: a node is forgotten, and its replica is elsewhere.
func left(c *cluster) error {
	if n, err := c.listed(c.added); n != nil || err != nil {
		return fmt.Errorf("node %d is still known: %v, %w", c.added, n, err)
	}
	return voters(3)(c)
}

func stays(c *cluster) error {
	n, err := c.listed(c.added)
	if err == nil && (n == nil || n.GetLeaving()) {
		err = fmt.Errorf("node %d is to leave: %v", c.added, n)
	}
	return err
}
