package upkeep

import (
	"cmp"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
)

// Cluster is all that upkeep decides by, as of one instant.
type Cluster struct {
	Nodes  []Node  // by id
	Groups []Group // by id
	// Weighed is how long ago the balance of replicas was last looked at.
	Weighed time.Duration
}

// Node is a storage node.
type Node struct {
	ID     pinetree.NodeID
	Zone   string
	Health policy.Health
	// Lasting is for how long its health has been this, and Steady for how long it
	// has been this and the node was not in quarantine.
	Lasting, Steady time.Duration
	// Draining nodes are to lead nothing, Leaving ones to have no replicas either,
	// Quarantined ones are not appointed for a time.
	Draining, Leaving, Quarantined bool
	// Leaders counts the groups that it is appointed to lead, and Replicas those
	// of which it is a member.
	Leaders, Replicas int
	// Former counts the groups of which it may still have files, though it is no
	// member.
	Former int
	// Full says why the node is to get no replicas, for lack of space; empty when it
	// has some.
	Full string
}

// MayLead tells whether leaders may be moved to the node.
func (n Node) MayLead() bool {
	return n.Health == policy.Alive && !n.Draining && !n.Leaving && !n.Quarantined
}

// Group is a raft group.
type Group struct {
	ID   pinetree.GroupID
	Home string // zone where its leader is preferred; empty for none
	// Created is set once every voter has made its replica.
	Created bool
	// Replicas are of the members, one that is being added included.
	Replicas []Replica
	// Leader leads under the newest appointment, by its own word; zero when
	// nobody does.
	Leader pinetree.NodeID
	// Led tells that the leader was activated and that nothing is being done to
	// the group: a leader could be moved now.
	Led bool
	// Moving tells that its leader is being moved.
	Moving bool
	// Changing tells that a change of its members is recorded and not through:
	// this one, and why the manager began it by itself, if it did.
	Changing bool
	Change   policy.Change
	Cause    string
	// Replaces tells that it is because the replica that goes was lost.
	Replaces bool
	// Former are nodes that are no members and may still have files of it.
	Former []pinetree.NodeID
	// Kept tells that an operator has put the leader where it is lately.
	Kept bool
	// Settled is for how long it has had this leader, and no move of it failed.
	Settled time.Duration
}

// Replica is a member of a group.
type Replica struct {
	Node pinetree.NodeID
	// Unfit says why the replica cannot take the leadership over now; empty when
	// it can, when it leads, and when nobody does.
	Unfit string
	// Votes tells that it is a voter. While a joint change is half done, Before
	// tells that it is one of those before the change, of which a majority is
	// needed, too.
	Votes, Before bool
	// Learns tells that it is a learner, by the leader's word.
	Learns bool
	// Lost says why the replica is of no use though its node lives, and LostFor for
	// how long; empty when it is of use.
	Lost    string
	LostFor time.Duration
}

// place is the place of a node in the list; -1 when it is not known.
func (c *Cluster) place(id pinetree.NodeID) int {
	at, found := slices.BinarySearchFunc(c.Nodes, id, func(n Node, id pinetree.NodeID) int { return cmp.Compare(n.ID, id) })
	if !found {
		return -1
	}
	return at
}

// find looks a node up; nil when it is not known.
func (c *Cluster) find(id pinetree.NodeID) *Node {
	if at := c.place(id); at >= 0 {
		return &c.Nodes[at]
	}
	return nil
}
