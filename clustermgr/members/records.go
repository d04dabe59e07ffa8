package members

import (
	"context"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/clustermgr/refusal"
)

// Node is a node's record, as Group is a group's.
type Node = ledger.Kept[ledger.Node]

const byOrder = "an operator's order"

// Begin records a change of a group's replicas, and returns the record. Find finds
// the group where the records belong, unless it refuses the change, and health
// tells of a node whether it lives. The same change again is no error.
func (h *Hands) Begin(ctx context.Context, c ledger.ReplicaChange, find func() (*Group, error), health func(pinetree.NodeID) (policy.Health, bool)) (ledger.Group, error) {
	var k *Group
	var next ledger.Group
	want := policy.Change{Add: c.Add, Remove: c.Remove}
	err := h.Persist(ctx, func() (d ledger.Decision, err error) {
		if k, err = find(); err != nil {
			return d, err
		}
		next = k.Is
		if under := k.Is.Change; under != nil && under.Add == c.Add && under.Remove == c.Remove {
			return d, nil
		}
		if err := Check(k.Is, want, health); err != nil {
			return d, err
		}
		next = next.Changing(c)
		e := ledger.Event{Kind: "change_recorded", Group: next.ID, Node: max(c.Add, c.Remove), Cause: c.Cause, Outcome: want.String()}
		if c.Cause == "" {
			e.Cause = byOrder
		}
		return ledger.Decide(e, k.Put(next.Key(), next)), nil
	}, func(revision int64) { k.Is, k.Revision = next, revision })
	return next, err
}

// Ending is a group that is to be no more, and the volume that it has; nil for
// none.
type Ending struct {
	Group  *Group
	Volume *ledger.Kept[ledger.Volume]
}

// End records the end of a group, which find finds where the records belong. Then
// is called there, too.
func (h *Hands) End(ctx context.Context, counters *ledger.Kept[ledger.Counters], find func() (Ending, error), then func(Ending)) error {
	var e Ending
	var next ledger.Group
	return h.Persist(ctx, func() (d ledger.Decision, err error) {
		if e, err = find(); err != nil {
			return d, err
		}
		next = e.Group.Is.Ended()
		// Whoever makes a volume changes the counters: none is made in the group at
		// the same time.
		d.Changes = []ledger.Change{e.Group.Put(next.Key(), next), counters.Put(ledger.CountersKey, counters.Is)}
		event := ledger.Event{Kind: "group_deleted", Group: next.ID, Cause: byOrder, Outcome: fmt.Sprintf("nodes %v are to remove their replicas", e.Group.Is.Members())}
		if v := e.Volume; v != nil {
			event.Outcome = fmt.Sprintf("volume %d, %s, goes with it; %s", v.Is.ID, v.Is.Name, event.Outcome)
			d.Changes = append(d.Changes, ledger.Change{Key: v.Is.Key(), Expect: v.Revision})
		}
		d.Events = []ledger.Event{event}
		return d, nil
	}, func(revision int64) {
		e.Group.Is, e.Group.Revision, counters.Revision = next, revision, revision
		then(e)
	})
}

// Mark records what an operator wants of a node, as an event of this kind. Find
// finds the node where the records belong, unless it refuses that; nil when there
// is nothing to be done.
func (h *Hands) Mark(ctx context.Context, find func() (*Node, error), set func(*ledger.Node), kind string) error {
	var k *Node
	var next ledger.Node
	return h.Persist(ctx, func() (d ledger.Decision, err error) {
		if k, err = find(); err != nil || k == nil {
			return d, err
		}
		next = k.Is
		if set(&next); next == k.Is {
			return d, nil
		}
		return ledger.Decide(ledger.Event{Kind: kind, Node: next.ID, Cause: byOrder}, k.Put(next.Key(), next)), nil
	}, func(revision int64) { k.Is, k.Revision = next, revision })
}

// Either is the kind of an event about what is set or reset.
func Either(set bool, yes, no string) string {
	if set {
		return yes
	}
	return no
}

// ForgetNode ends the record of a node that has left, if find still finds it. Then
// is called where the records belong.
func (h *Hands) ForgetNode(ctx context.Context, find func() *Node, then func()) error {
	var k *Node
	return h.Persist(ctx, func() (d ledger.Decision, _ error) {
		if k = find(); k == nil {
			return d, nil
		}
		return ledger.Decide(
			ledger.Event{Kind: "node_removed", Node: k.Is.ID, Cause: "it was to leave, and has no replicas any more", Outcome: "its id is not given again"},
			ledger.Change{Key: k.Is.Key(), Expect: k.Revision}), nil
	}, func(int64) { then() })
}

// Unknown refuses what is asked of a node that there is not: one that was removed,
// for the last id that was given is known, or one that never was.
func Unknown(id, last pinetree.NodeID) error {
	if id == 0 || id > last {
		return refusal.As(pinetree.ErrNotFound, "there is no node %d; `node ls` lists those that are", id)
	}
	return refusal.As(pinetree.ErrNotFound, "node %d was removed from the cluster and its id is never used again: start its process with an empty directory to have a new node", id)
}
