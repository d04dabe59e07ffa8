// Package raftlogtest is the conformance suite of raft log stores: what every
// raftlog.Store must do, and what its files must survive. It knows the
// contract and memlog, which it takes as the model; it knows no file format.
package raftlogtest

import (
	"testing"

	"github.com/pinetree-db/pinetree/raftlog"
)

// Open opens the store in one place: an empty one at first, and after Close
// what was there. It may be called again only after Close.
type Open func() (raftlog.Store, error)

// Run checks a backend. The factory names a new, empty place for each test.
func Run(t *testing.T, factory func(t *testing.T) Open) {
	for _, c := range []struct {
		name string
		test func(*place)
	}{
		{"AnUnknownGroupIsEmpty", unknownGroup},
		{"AppendedEntriesAreRead", appended},
		{"AConflictingTailIsOverwritten", overwritten},
		{"RestartEmptiesTheLog", restarted},
		{"RestartHardStateAndEntriesComeInOneUpdate", restartedWhole},
		{"CompactKeepsTheTermOfItsIndex", compacted},
		{"CompactOutsideTheLogChangesNothing", compactedOutside},
		{"EverythingCompactedIsStillAPlace", compactedAll},
		{"ReadsOutsideTheLogAreRefused", outside},
		{"MaxBytesGivesOneAtLeast", maxBytes},
		{"GroupsAreApart", manyGroups},
		{"SeveralUpdatesOfAGroupComeInOrder", severalUpdates},
		{"HardStateIsKept", hardState},
		{"HardStateIsACopy", hardStateCopied},
		{"RemovedGroupsAreGone", removed},
		{"HolesAreRefused", holes},
		{"ARefusedSaveSavesNothing", refused},
		{"AllIsThereAfterReopening", reopened},
		{"LargeEntriesAreKept", large},
		{"ProbeChangesNothing", probed},
		{"RandomCallsAgreeWithTheModel", differential},
		{"ReadersRunBesideTheWriter", concurrent},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &place{T: t, open: factory(t)}
			p.reopen()
			defer func() {
				if err := p.store.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}()
			c.test(p)
		})
	}
}

// place is where one test has its store.
type place struct {
	*testing.T
	open  Open
	store raftlog.Store
}

// reopen closes the store and opens it again.
func (p *place) reopen() {
	p.Helper()
	if p.store != nil {
		if err := p.store.Close(); err != nil {
			p.Fatalf("Close: %v", err)
		}
	}
	store, err := p.open()
	if err != nil {
		p.Fatalf("open: %v", err)
	}
	p.store = store
}

func (p *place) save(updates ...raftlog.Update) {
	p.Helper()
	if err := p.store.Save(updates); err != nil {
		p.Fatalf("Save: %v", err)
	}
}
