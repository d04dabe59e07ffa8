package members

import (
	"context"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/refusal"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Counters are the record of the last ids that were given.
type Counters = ledger.Kept[ledger.Counters]

// Register records a node that registers, if that says anything new. Find finds it
// where the records belong, nil for a new one, unless it refuses it; then is given
// the record there when it has changed.
func (h *Hands) Register(ctx context.Context, q *wirepb.RegisterRequest, counters *Counters, find func() (*Node, error), then func(Node)) (ledger.Node, error) {
	if q.GetInstance() == "" || q.GetAddress() == "" {
		return ledger.Node{}, refusal.As(pinetree.ErrBadBatch, "a node registers with the instance of its directory and its address")
	}
	var n ledger.Node
	var known *Node
	prepare := func() (d ledger.Decision, err error) {
		if known, err = find(); err != nil {
			return d, err
		}
		if known == nil {
			n = ledger.Node{ID: counters.Is.Node + 1, Instance: q.GetInstance(), Address: q.GetAddress(), Zone: q.GetZone()}
			c := counters.Is
			c.Node = n.ID
			return ledger.Decide(registered("node_registered", "a new directory", n), counters.Put(ledger.CountersKey, c), Node{}.Put(n.Key(), n)), nil
		}
		n = known.Is
		n.Address, n.Zone = q.GetAddress(), q.GetZone()
		if n == known.Is {
			return d, nil
		}
		return ledger.Decide(registered("node_changed", "registered anew", n), known.Put(n.Key(), n)), nil
	}
	// A node that comes back unchanged needs no store.
	var decided ledger.Decision
	var err error
	if e := h.Do(ctx, func() { decided, err = prepare() }); e != nil {
		return n, e
	}
	if err != nil || len(decided.Changes) == 0 {
		return n, err
	}
	err = h.Persist(ctx, prepare, func(revision int64) {
		if known == nil {
			counters.Is.Node, counters.Revision = n.ID, revision
		}
		then(Node{Is: n, Revision: revision})
	})
	return n, err
}

func registered(kind, cause string, n ledger.Node) ledger.Event {
	return ledger.Event{Kind: kind, Node: n.ID, Cause: cause, Outcome: n.Address + ", zone " + n.Zone}
}
