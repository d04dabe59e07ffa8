// Package pages collects what one write does to the pages of a volume, in few
// values, some of the changes as the image that they lead to. It knows nothing of
// keys, databases or groups.
package pages

import (
	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
)

// MaxValueBytes is about how much of a page's changes share a value: a read
// decodes a whole one, also for what lies in its middle.
const MaxValueBytes = 32 << 10

// Value is what a write does to a page, or a part of that.
type Value struct {
	Page  pinetree.PageNo
	First pinetree.LSN // of its first change
	Buf   []byte       // room for a chunk's header, and the changes
}

// Write is what one write does to the pages of a volume. It belongs to one
// goroutine.
type Write struct {
	before  func(pinetree.PageNo) ([]byte, error)
	mem     slab
	pages   map[pinetree.PageNo]*history
	touched []*history // in order
	full    []Value
}

// NewWrite begins a write. What a page was before it is asked of before: nil when
// there is no such page.
func NewWrite(before func(pinetree.PageNo) ([]byte, error)) *Write {
	return &Write{before: before, pages: map[pinetree.PageNo]*history{}}
}

// Change adds a change of the record at an LSN, which never falls. The op's
// memory stays the caller's.
func (w *Write) Change(lsn pinetree.LSN, op engine.Op) error {
	h := w.pages[op.Page]
	if h == nil {
		h = &history{page: op.Page}
		w.pages[op.Page] = h
		w.touched = append(w.touched, h)
	}
	if h.value.Buf == nil || h.lsn != lsn {
		if err := w.endRecord(h); err != nil {
			return err
		}
		h.begin(lsn, &w.mem, op)
	}
	h.add(op)
	return nil
}

// endRecord ends what the record at hand does to a page: if it is one of those
// chosen for it, its patches become the image that they lead to, and if the
// value has grown too large with it, it begins the next one.
func (w *Write) endRecord(h *history) error {
	if h.value.Buf == nil {
		return nil
	}
	if !h.recordIsImage() && layout.IsConsolidated(h.page, h.lsn, h.bytes) {
		image, err := h.image(w.before)
		if err != nil {
			return err
		}
		h.add(engine.Op{Kind: engine.PageImage, Page: h.page, Data: image})
	}
	if full, cut := h.cut(); cut {
		w.full = append(w.full, full)
		h.older = append(h.older, full)
	}
	return nil
}

// Pages are those that were changed so far.
func (w *Write) Pages() []pinetree.PageNo {
	pages := make([]pinetree.PageNo, len(w.touched))
	for i, h := range w.touched {
		pages[i] = h.page
	}
	return pages
}

// End returns the values that the write makes, whose memory is the caller's.
func (w *Write) End() ([]Value, error) {
	for _, h := range w.touched {
		if err := w.endRecord(h); err != nil {
			return nil, err
		}
		w.full = append(w.full, h.value)
	}
	return w.full, nil
}
