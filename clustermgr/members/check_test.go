package members

import (
	"errors"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
)

// TestAnOrderThatNamesNobodyGivesUpNoChange: a removal under way adds nobody, and no
// node is what such an order is to remove.
func TestAnOrderThatNamesNobodyGivesUpNoChange(t *testing.T) {
	alive := func(pinetree.NodeID) (policy.Health, bool) { return policy.Alive, true }
	g := ledger.Group{ID: 1, Created: true, Voters: []pinetree.NodeID{1, 2, 3, 4, 5}}
	for name, g := range map[string]ledger.Group{
		"nothing under way": g, "a removal under way": g.Changing(ledger.ReplicaChange{Remove: 5}), "an addition under way": g.Changing(ledger.ReplicaChange{Add: 6}),
	} {
		if err := Check(g, policy.Change{}, alive); !errors.Is(err, pinetree.ErrBadBatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Check(g.Changing(ledger.ReplicaChange{Add: 6}), policy.Change{Remove: 6}, alive); err != nil {
		t.Errorf("what is being added is not given up: %v", err)
	}
}
