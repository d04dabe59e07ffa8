package lsm

import (
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
	"github.com/pinetree-db/pinetree/meta"
)

// smallCommits is a database whose commits take little.
type smallCommits struct{ sorted.Database }

func (s smallCommits) Traits() sorted.Traits {
	t := s.Database.Traits()
	t.MaxCommitEntries = 40
	return t
}

// TestWhatIsTooMuchForAPositionIsRemovedAfterIt, though nothing more is written.
func TestWhatIsTooMuchForAPositionIsRemovedAfterIt(t *testing.T) {
	db, err := onPebble.small(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(smallCommits{db})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	g := openGroup(t, s)
	w := metaWrites{t: t, table: meta.Empty()}
	for range 50 {
		applyAll(t, g, w.put("key"))
	}
	applyAll(t, g, w.compact())
	before := storedMeta(t, s, g)
	flush(t, g)
	for deadline := time.Now().Add(5 * time.Second); storedMeta(t, s, g) > before/50; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("of %d records, of which one is left, %d are stored", before, storedMeta(t, s, g))
		}
	}
}
