package members

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// desk persists at once and remembers what it wrote.
type desk struct {
	revision int64
	written  []ledger.Change
	events   []ledger.Event
}

func (d *desk) hands() *Hands {
	return &Hands{
		Persist: func(_ context.Context, prepare func() (ledger.Decision, error), commit func(int64)) error {
			decided, err := prepare()
			if err != nil {
				return err
			}
			d.revision++
			d.written, d.events = append(d.written, decided.Changes...), append(d.events, decided.Events...)
			commit(d.revision)
			return nil
		},
		Note: func(e ledger.Event) { d.events = append(d.events, e) },
		Tell: func(fn func()) { fn() },
	}
}

// TestAChangeThatWasGivenUpIsNotRecorded: a step may end after its change did.
func TestAChangeThatWasGivenUpIsNotRecorded(t *testing.T) {
	var d desk
	k := &Group{Is: ledger.Group{ID: 1, Voters: []pinetree.NodeID{1, 2, 3}}.Changing(ledger.ReplicaChange{Remove: 4})}
	old := Change{ID: 1, Group: k, Record: *k.Is.Change}
	k.Is = k.Is.Changing(ledger.ReplicaChange{Add: 4})
	status := &wirepb.ReplicaStatus{Leader: true, Voters: []uint64{1}}
	if err := d.hands().recordMembers(t.Context(), old, status); err == nil || !strings.Contains(err.Error(), "given up") {
		t.Errorf("recorded: %v", err)
	}
	if len(d.written) > 0 || len(k.Is.Voters) != 3 || k.Is.Change.Number != 2 {
		t.Errorf("%v, %+v", d.written, k.Is)
	}
}

// TestWhoIsNoMemberAnyMoreIsToBeCleaned: the one that was replaced, and one whose
// addition was given up; not a learner.
func TestWhoIsNoMemberAnyMoreIsToBeCleaned(t *testing.T) {
	var d desk
	k := &Group{Is: ledger.Group{ID: 1, Voters: []pinetree.NodeID{1, 2, 3}}.Changing(ledger.ReplicaChange{Add: 4, Remove: 3})}
	c := Change{ID: 1, Group: k, Record: *k.Is.Change}
	status := &wirepb.ReplicaStatus{Leader: true, Voters: []uint64{1, 4}, Learners: []uint64{2}, Committed: 77}
	if err := d.hands().recordMembers(t.Context(), c, status); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(k.Is.Voters, []pinetree.NodeID{1, 4}) || k.Is.Change != nil || len(k.Is.Removed) != 1 || k.Is.Removed[3] != 77 || k.Revision != 1 {
		t.Errorf("%+v", k)
	}
	// A node that has left for good has nothing to be asked.
	if err := d.hands().Clean(t.Context(), Cleaning{ID: 1, Group: k, AsOf: k.Is.Removed, Gone: []pinetree.NodeID{3}}); err != nil {
		t.Fatal(err)
	}
	if len(k.Is.Removed) != 0 || len(d.events) != 2 || d.events[1].Kind != "replica_removed" || d.events[1].Group != 1 {
		t.Errorf("%+v, %+v", k, d.events)
	}
}

// TestADeletedGroupHasNoMembers: everybody who had a replica may have its files,
// and the record goes when nobody has any.
func TestADeletedGroupHasNoMembers(t *testing.T) {
	var d desk
	g := ledger.Group{ID: 1, Voters: []pinetree.NodeID{1, 2}, Removed: map[pinetree.NodeID]pinetree.RaftIndex{9: 5}}
	before := g.Changing(ledger.ReplicaChange{Add: 4})
	k := &Group{Is: before.Ended(), Revision: 7}
	if len(before.Removed) != 1 {
		t.Errorf("the record before was changed, too: %v", before.Removed)
	}
	if !k.Is.Deleted || len(k.Is.Members()) != 0 || len(k.Is.Removed) != 4 || k.Is.Change != nil {
		t.Fatalf("%+v", k.Is)
	}
	forgotten := false
	if err := d.hands().Forget(t.Context(), k, func() { forgotten = true }); err != nil || !forgotten {
		t.Fatal(err)
	}
	if len(d.written) != 1 || d.written[0].Value != nil || d.written[0].Expect != 7 || d.written[0].Key != k.Is.Key() {
		t.Errorf("%+v", d.written)
	}
}
