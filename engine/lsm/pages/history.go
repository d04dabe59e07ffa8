package pages

import (
	"encoding/binary"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
)

// history is what one write does to a page so far.
type history struct {
	page   pinetree.PageNo
	older  []Value // full ones of this write
	value  Value   // the one that takes changes
	lsn    pinetree.LSN
	before pinetree.LSN // of the change before the record at hand
	record int          // value.Buf[record:] is of the record at hand
	empty  bool         // and nothing yet
	bytes  int          // that the record writes
}

// begin begins a record that changes the page, first by op.
func (h *history) begin(lsn pinetree.LSN, mem *slab, op engine.Op) {
	if h.value.Buf == nil {
		h.value = Value{Page: h.page, First: lsn, Buf: mem.take(layout.ChunkHeaderBytes + layout.MaxChangeHead + len(op.Data))[:layout.ChunkHeaderBytes]}
		h.lsn = lsn
	}
	h.before, h.lsn, h.record, h.empty, h.bytes = h.lsn, lsn, len(h.value.Buf), true, 0
}

// add adds a change to the record at hand. An image takes the place of what the
// record did before.
func (h *history) add(op engine.Op) {
	step := uint64(0)
	if op.Kind == engine.PageImage {
		h.value.Buf, h.empty, h.bytes = h.value.Buf[:h.record], true, 0
	}
	if h.empty {
		step, h.empty = uint64(h.lsn-h.before), false
	}
	h.value.Buf, h.bytes = layout.AppendChange(h.value.Buf, step, op), h.bytes+len(op.Data)
}

// recordIsImage tells whether the record at hand begins with an image.
func (h *history) recordIsImage() bool {
	_, n := binary.Uvarint(h.value.Buf[h.record:])
	return engine.OpKind(h.value.Buf[h.record+n]) == engine.PageImage
}

// cut lets the record at hand begin a new value if it has made the one at hand
// too large, which it returns without it.
func (h *history) cut() (full Value, cut bool) {
	if h.record == layout.ChunkHeaderBytes || len(h.value.Buf) <= layout.ChunkHeaderBytes+MaxValueBytes {
		return Value{}, false
	}
	full = h.value
	full.Buf = full.Buf[:h.record:h.record]
	record := h.value.Buf[h.record:]
	_, n := binary.Uvarint(record)
	buf := make([]byte, layout.ChunkHeaderBytes, layout.ChunkHeaderBytes+1+len(record))
	h.value = Value{Page: h.page, First: h.lsn, Buf: append(append(buf, 0), record[n:]...)}
	h.record = layout.ChunkHeaderBytes
	return full, true
}

// image is the page after the record at hand. What this write does not tell is
// read by before.
func (h *history) image(before func(pinetree.PageNo) ([]byte, error)) ([]byte, error) {
	var chain [][]layout.Change
	found := false
	for i := len(h.older); i >= 0 && !found; i-- {
		value := h.value
		if i < len(h.older) {
			value = h.older[i]
		}
		changes, hasImage, err := layout.DecodePage(value.Buf[layout.ChunkHeaderBytes:], value.First, h.lsn)
		if err != nil {
			return nil, err
		}
		chain, found = append(chain, changes), hasImage
	}
	var image []byte
	if !found {
		var err error
		if image, err = before(h.page); err != nil {
			return nil, err
		}
	}
	for i := len(chain) - 1; i >= 0; i-- {
		image = layout.ReplayPage(image, chain[i])
	}
	return image, nil
}

// slab gives out the memory of many small values in large pieces.
type slab struct{ rest []byte }

// slabBytes is the size of a piece.
const slabBytes = 256 << 10

// take returns n bytes of memory.
func (s *slab) take(n int) []byte {
	if n > slabBytes/8 {
		return make([]byte, n)
	}
	if n > len(s.rest) {
		s.rest = make([]byte, slabBytes)
	}
	taken := s.rest[:n:n]
	s.rest = s.rest[n:]
	return taken
}
