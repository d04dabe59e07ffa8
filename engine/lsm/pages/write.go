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
// goroutine, and after End, when it changes no more, to all.
type Write struct {
	before  func(pinetree.PageNo) ([]byte, error)
	chain   chain
	pages   map[pinetree.PageNo]*history
	touched []*history // in order
	spare   []history
}

// NewWrite begins a write. What a page was before it is asked of before: nil when
// there is no such page.
func NewWrite(before func(pinetree.PageNo) ([]byte, error)) *Write {
	return &Write{before: before, pages: map[pinetree.PageNo]*history{}}
}

// Change adds a change of the record at an LSN, which never falls. The op's
// data must not change as long as the write is of use.
func (w *Write) Change(lsn pinetree.LSN, op engine.Op) error {
	h := w.pages[op.Page]
	if h == nil {
		h = w.touch(op.Page)
		h.lsn = lsn
	}
	if h.lsn != lsn {
		if err := w.endRecord(h); err != nil {
			return err
		}
		h.begin(lsn)
	}
	w.chain.add(h, op)
	return nil
}

// touch begins the history of a page.
func (w *Write) touch(page pinetree.PageNo) *history {
	if len(w.spare) == 0 {
		w.spare = make([]history, min(len(w.touched)+1, 512))
	}
	h := &w.spare[0]
	w.spare = w.spare[1:]
	*h = history{page: page, first: none, last: none, before: none, image: none}
	w.pages[page] = h
	w.touched = append(w.touched, h)
	return h
}

// endRecord ends what the record at hand does to a page: if it is one of those
// chosen for it, its patches become the image that they lead to, and if the
// value has grown too large with it, it begins the next one.
func (w *Write) endRecord(h *history) error {
	isImage := w.chain.at(w.chain.recordIs(h)).image
	if !isImage && layout.IsConsolidated(h.page, h.lsn, h.patched) {
		image, err := w.chain.state(h, w.before)
		if err != nil {
			return err
		}
		w.chain.add(h, engine.Op{Kind: engine.PageImage, Page: h.page, Data: image})
	}
	w.chain.cut(h)
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
	var mem slab
	values := make([]Value, 0, len(w.touched))
	for _, h := range w.touched {
		if err := w.endRecord(h); err != nil {
			return nil, err
		}
		values = w.chain.values(h, values, &mem)
	}
	return values, nil
}

// After is a page as the write leaves it, after End. What the write does not tell
// is asked of before. The memory is the caller's.
func (w *Write) After(page pinetree.PageNo, before func(pinetree.PageNo) ([]byte, error)) ([]byte, error) {
	h := w.pages[page]
	if h == nil {
		return before(page)
	}
	return w.chain.state(h, before)
}
