package pages

import (
	"math/rand/v2"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
)

// TestAValueOfAPageStaysSmall writes much to one page at once, of which a read
// in the middle is to decode little.
func TestAValueOfAPageStaysSmall(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	w := NewWrite(func(pinetree.PageNo) ([]byte, error) { return nil, nil })
	size := 0
	for lsn := pinetree.LSN(1); lsn < 3000; lsn++ {
		op := engine.Op{Kind: engine.PagePatch, Page: 200, Offset: random.IntN(8000), Data: make([]byte, 1+random.IntN(500))}
		if err := w.Change(lsn, op); err != nil {
			t.Fatal(err)
		}
		size += len(op.Data)
	}
	values, err := w.End()
	if err != nil {
		t.Fatal(err)
	}
	last := pinetree.LSN(0)
	for _, v := range values {
		if v.First <= last || len(v.Buf) > MaxValueBytes+layout.MaxChangeHead+layout.ChunkHeaderBytes {
			t.Errorf("a value of %d bytes from %s on, the one before began at %s", len(v.Buf), v.First, last)
		}
		last = v.First
	}
	if most := 3 * size / MaxValueBytes; len(values) > most {
		t.Errorf("%d values for %d bytes of changes, want at most %d", len(values), size, most)
	}
}

func TestASetOfPagesIsBounded(t *testing.T) {
	s := NewSet()
	for page := range pinetree.PageNo(1000) {
		if s.Add(page) || !s.Add(page) {
			t.Fatalf("page %d was there before it was added, or not after", page)
		}
	}
	for page := range pinetree.PageNo(2 * maxBlocks) {
		s.Add(page * 1000)
	}
	if len(s.blocks) > maxBlocks {
		t.Errorf("%d blocks", len(s.blocks))
	}
}

// FuzzChanges reads the stored changes of a page. What is believed is encoded
// again and must read the same, unless an image hides what came before it.
