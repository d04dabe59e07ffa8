// Package touched knows which pages and keys a part of a volume's log changes, and
// which of them a truncation has cleaned already. It reads no database and removes
// nothing.
package touched

import (
	"maps"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Set is pages and keys. The zero Set is empty.
type Set struct {
	Pages map[pinetree.PageNo]bool
	Keys  map[string]bool
}

// Note adds what an encoded batch of redo changes. An error is damage.
func (s *Set) Note(encoded []byte) error {
	b, _, err := storepb.DecodeBatch(encoded)
	if err != nil {
		return err
	}
	s.make()
	return engine.EachOp(b, func(_ pinetree.LSN, op engine.Op) error {
		if op.Kind == engine.PageImage || op.Kind == engine.PagePatch {
			s.Pages[op.Page] = true
		} else {
			s.Keys[string(op.Key)] = true
		}
		return nil
	})
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
