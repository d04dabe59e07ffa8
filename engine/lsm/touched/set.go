// Package touched knows which pages and keys a part of a volume's log may have made
// versions of without a use, and which of them a truncation has cleaned already. It
// reads no database and removes nothing.
package touched

import (
	"maps"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Set is pages of which an image was kept, which is what takes the use of older
// versions, and keys that were set or deleted. The zero Set is empty.
type Set struct {
	Pages map[pinetree.PageNo]bool
	Keys  map[string]bool
}

// Note adds what an encoded batch of redo changes. Of which pages an image was kept
// is told by the rule of today: where another build wrote the versions, a page may
// be missing, and goes with its next image. An error is damage.
func (s *Set) Note(encoded []byte) error {
	b, _, err := storepb.DecodeBatch(encoded)
	if err != nil {
		return err
	}
	s.make()
	var record pinetree.LSN
	patched := map[pinetree.PageNo]int{} // bytes that the record writes
	endRecord := func() {
		for page, n := range patched {
			if layout.IsConsolidated(page, record, n) {
				s.Pages[page] = true
			}
		}
		clear(patched)
	}
	err = engine.EachOp(b, func(lsn pinetree.LSN, op engine.Op) error {
		if lsn != record {
			endRecord()
			record = lsn
		}
		switch op.Kind {
		case engine.PageImage:
			s.Pages[op.Page] = true
		case engine.PagePatch:
			patched[op.Page] += len(op.Data)
		default:
			s.Keys[string(op.Key)] = true
		}
		return nil
	})
	endRecord()
	return err
}

func (s *Set) make() {
	if s.Pages == nil {
		*s = Set{Pages: map[pinetree.PageNo]bool{}, Keys: map[string]bool{}}
	}
}

func (s *Set) add(more Set) {
	s.make()
	maps.Copy(s.Pages, more.Pages)
	maps.Copy(s.Keys, more.Keys)
}
