package members

import (
	"context"
	"errors"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/orders"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Cleaning are nodes that are to remove the files of a replica which is no member
// any more.
type Cleaning struct {
	ID    pinetree.GroupID
	Group *Group
	// AsOf are the raft indexes at which they were no members.
	AsOf map[pinetree.NodeID]pinetree.RaftIndex
	// Deleted tells that the group is no more, so that all replicas go.
	Deleted bool
	// Nodes that live and are to remove them.
	Nodes []orders.Target
	// Gone are nodes that will never come back.
	Gone []pinetree.NodeID
}

// Clean has the files removed and takes note of each node that has none. An error
// says who could not.
func (h *Hands) Clean(ctx context.Context, c Cleaning) error {
	var failures []error
	for _, id := range c.Gone {
		failures = append(failures, h.recordClean(ctx, c, id, "its node has left the cluster for good"))
	}
	why := "its node is no member of the group any more"
	if c.Deleted {
		why = "its group was deleted"
	}
	for _, t := range c.Nodes {
		err := h.Dial.RemoveReplica(ctx, t, &wirepb.RemoveReplicaRequest{Group: uint64(c.ID), AsOf: uint64(c.AsOf[t.Node]), Deleted: c.Deleted})
		if err == nil {
			err = h.recordClean(ctx, c, t.Node, why)
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

func (h *Hands) recordClean(ctx context.Context, c Cleaning, id pinetree.NodeID, why string) error {
	return h.record(ctx, c.Group, func(g ledger.Group) (ledger.Group, error) { return g.Cleaned(id), nil },
		func(ledger.Group) ledger.Event { return ledger.Event{Kind: "replica_removed", Node: id, Cause: why} })
}

// Forget ends the record of a deleted group of which no node has anything left.
// Then is called where the records belong.
func (h *Hands) Forget(ctx context.Context, k *Group, then func()) error {
	return h.Persist(ctx, func() (ledger.Decision, error) {
		return ledger.Decide(
			ledger.Event{Kind: "group_forgotten", Group: k.Is.ID, Cause: "no node has anything left of it"},
			ledger.Change{Key: k.Is.Key(), Expect: k.Revision}), nil
	}, func(int64) { then() })
}
