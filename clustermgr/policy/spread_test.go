package policy

import (
	"testing"

	"github.com/pinetree-db/pinetree"
)

// TestGroupsOfADeadNodeAreSpread chooses for many groups at once, before any of the
// choices counts: each of the two equals gets about half.
func TestGroupsOfADeadNodeAreSpread(t *testing.T) {
	const groups = 300
	got := map[pinetree.NodeID]int{}
	for g := pinetree.GroupID(1); g <= groups; g++ {
		answers := []Answer{{Node: 1}, {Node: 2, Status: log(2, 10)}, {Node: 3, Status: log(2, 10)}}
		chosen, err := Choose(answers, Wish{Voters: 3, Group: g})
		if err != nil {
			t.Fatal(err)
		}
		got[chosen.Node]++
	}
	if got[2] < groups/3 || got[3] < groups/3 {
		t.Errorf("of %d groups: %v", groups, got)
	}
}
