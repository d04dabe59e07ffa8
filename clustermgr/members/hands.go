package members

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/orders"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Group is a group's record. It belongs to whoever owns it: here it is touched
// only by what is given to Hands.Persist.
type Group = ledger.Kept[ledger.Group]

// Hands carry changes out. Any goroutine may call them, for one group one at a
// time; what they call back is the user's.
type Hands struct {
	Dial *orders.Nodes
	// Persist makes a decision durable; prepare and commit run where the records
	// belong.
	Persist func(ctx context.Context, prepare func() (ledger.Decision, error), commit func(revision int64)) error
	// Note keeps an event of what was seen. It is called where the records belong.
	Note func(ledger.Event)
	// Do runs a function where the records belong, and so does Tell, for what ends
	// only with all of it.
	Do   func(ctx context.Context, fn func()) error
	Tell func(fn func())
	// Depose moves the leader of a group to another replica.
	Depose func(ctx context.Context, group pinetree.GroupID) error
	// MaxQuorumAge is how long ago a quorum may have answered a leader whose word
	// is taken.
	MaxQuorumAge time.Duration
}

// Change is a change under way and who takes part in it.
type Change struct {
	ID          pinetree.GroupID
	Group       *Group
	Record      ledger.ReplicaChange
	Leader, Add orders.Target
	Absent      bool // node Add has not reported a replica
}

func (c Change) want() policy.Change {
	return policy.Change{Add: c.Record.Add, Remove: c.Record.Remove}
}

// Step takes the next step of a change. It returns nil when the one after may
// follow at once; an error says what the change waits for.
func (h *Hands) Step(ctx context.Context, c Change) error {
	status := h.Dial.Collect(ctx, c.ID, []orders.Target{c.Leader})[0]
	if !status.GetLeader() {
		return fmt.Errorf("node %d, the leader, does not answer", c.Leader.Node)
	}
	// One that was deposed and does not know it may know older members, too. A
	// quiet one has all members behind it.
	if age := time.Duration(status.GetQuorumAgeMs()) * time.Millisecond; age > h.MaxQuorumAge && !status.GetQuiet() {
		return fmt.Errorf("node %d, the leader, has not heard from a quorum for %v", c.Leader.Node, age)
	}
	step := policy.NextStep(c.want(), c.Leader.Node, status)
	order := &wirepb.ChangeMembershipRequest{Group: uint64(c.ID), MembersAt: status.GetMembersAt()}
	switch step.Action {
	case policy.AwaitMembers:
		if c.Absent { // its node lost the blank replica, or is slow to tell of it
			if err := h.Dial.CreateBlank(ctx, c.Add, c.ID); err != nil {
				return err
			}
		}
		return errors.New(step.Reason)
	case policy.AddLearner:
		if err := h.Dial.CreateBlank(ctx, c.Add, c.ID); err != nil {
			return err
		}
		order.Add = []uint64{uint64(c.Add.Node)}
	case policy.ChangeMembers:
		order.Promote, order.Remove = Numbers(step.Promote), Numbers(step.Remove)
	case policy.Depose:
		return h.Depose(ctx, c.ID)
	case policy.RecordMembers:
		return h.recordMembers(ctx, c, status)
	}
	if err := h.Dial.ChangeMembership(ctx, c.Leader, order); err != nil {
		return err
	}
	h.Tell(func() {
		h.Note(ledger.Event{Kind: "members_changed", Group: c.ID, Node: c.Leader.Node, Cause: c.want().String(),
			Outcome: fmt.Sprintf("learners %v added, %v promoted, %v removed", order.Add, order.Promote, order.Remove)})
	})
	return nil
}

// recordMembers ends a change: the voters are what the leader says they are, and
// whoever had a replica and is no member may have its files. The entry that
// removed them is at or below the leader's commit index.
func (h *Hands) recordMembers(ctx context.Context, c Change, status *wirepb.ReplicaStatus) error {
	return h.record(ctx, c.Group, func(g ledger.Group) (ledger.Group, error) {
		if g.Change == nil || g.Change.Number != c.Record.Number {
			return g, errors.New("the change was given up for another one")
		}
		return g.Changed(nodes(status.GetVoters()), nodes(status.GetLearners()), pinetree.RaftIndex(status.GetCommitted())), nil
	}, func(now ledger.Group) ledger.Event {
		return ledger.Event{Kind: "replicas_changed", Node: max(c.Record.Add, c.Record.Remove), Cause: c.want().String(),
			Outcome: fmt.Sprintf("voters %v", now.Voters)}
	})
}

// record replaces the record of a group and keeps an event of that.
func (h *Hands) record(ctx context.Context, k *Group, change func(ledger.Group) (ledger.Group, error), event func(now ledger.Group) ledger.Event) error {
	var next ledger.Group
	return h.Persist(ctx, func() (d ledger.Decision, err error) {
		if next, err = change(k.Is); err != nil {
			return d, err
		}
		e := event(next)
		e.Group = next.ID
		return ledger.Decide(e, k.Put(next.Key(), next)), nil
	}, func(revision int64) { k.Is, k.Revision = next, revision })
}

// Numbers are nodes on the wire.
func Numbers(ids []pinetree.NodeID) []uint64 {
	var list []uint64
	for _, id := range ids {
		list = append(list, uint64(id))
	}
	return list
}

func nodes(numbers []uint64) []pinetree.NodeID {
	var list []pinetree.NodeID
	for _, n := range numbers {
		list = append(list, pinetree.NodeID(n))
	}
	return list
}
