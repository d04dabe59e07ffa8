package pages

import (
	"math/bits"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
)

// none is no change.
const none = -1

// change is one change of a page, in the order of the write.
type change struct {
	lsn    pinetree.LSN
	data   []byte
	offset int32 // of a patch
	next   int32 // change of the page, or none
	image  bool
	cut    bool // a value begins with it
}

func (c *change) op(page pinetree.PageNo) engine.Op {
	kind := engine.PagePatch
	if c.image {
		kind = engine.PageImage
	}
	return engine.Op{Kind: kind, Page: page, Offset: int(c.offset), Data: c.data}
}

// size is what a change takes in its stored form, to within a byte or two.
func (c *change) size() int {
	n := 2 + uvarintBytes(len(c.data)) + len(c.data)
	if !c.image {
		n += uvarintBytes(int(c.offset))
	}
	return n
}

func uvarintBytes(n int) int { return (bits.Len(uint(n)|1) + 6) / 7 }

// history is what one write does to a page so far, as a chain of changes. Those
// that one record makes are its last ones until the next record begins.
type history struct {
	page        pinetree.PageNo
	lsn         pinetree.LSN // of the record at hand
	first, last int32        // of all changes
	before      int32        // the last one that is not of the record at hand
	image       int32        // the newest whole image; none when there is none
	value       int          // bytes of the value at hand, without the record at hand
	record      int          // bytes of the record at hand
	patched     int          // bytes that the record writes
}

// chain are the changes of all pages of one write, in blocks, so that none is
// moved when there are more.
type chain struct {
	blocks [][]change
	count  int32
}

// blockChanges is how many changes a block has.
const blockChanges = 64

func (c *chain) at(n int32) *change { return &c.blocks[n/blockChanges][n%blockChanges] }

func (c *chain) push(one change) int32 {
	if c.count%blockChanges == 0 {
		c.blocks = append(c.blocks, make([]change, blockChanges))
	}
	n := c.count
	c.count++
	*c.at(n) = one
	return n
}

// begin begins a record that changes the page.
func (h *history) begin(lsn pinetree.LSN) {
	h.lsn, h.before = lsn, h.last
	h.value, h.record, h.patched = h.value+h.record, 0, 0
}

// recordIs is the first change of the record at hand.
func (c *chain) recordIs(h *history) int32 {
	if h.before == none {
		return h.first
	}
	return c.at(h.before).next
}

// add adds a change to the record at hand. An image takes the place of what the
// record did before.
func (c *chain) add(h *history, op engine.Op) {
	if op.Kind == engine.PageImage {
		if h.last = h.before; h.last == none {
			h.first = none
		} else {
			c.at(h.last).next = none
		}
		h.record, h.patched = 0, 0
	}
	at := c.push(change{lsn: h.lsn, data: op.Data, offset: int32(op.Offset), next: none, image: op.Kind == engine.PageImage})
	if h.last == none {
		h.first = at
	} else {
		c.at(h.last).next = at
	}
	if h.last = at; op.Kind == engine.PageImage {
		h.image = at
	}
	h.record, h.patched = h.record+c.at(at).size(), h.patched+len(op.Data)
}

// cut lets the record at hand begin a new value if it has made the one at hand
// too large.
func (c *chain) cut(h *history) {
	if h.value > 0 && h.value+h.record > MaxValueBytes {
		c.at(c.recordIs(h)).cut, h.value = true, 0
	}
}

// state is the page after all changes so far. What they do not tell is asked of
// before. The memory is the caller's.
func (c *chain) state(h *history, before func(pinetree.PageNo) ([]byte, error)) ([]byte, error) {
	var page []byte
	at := h.image
	if at == none {
		var err error
		if page, err = before(h.page); err != nil {
			return nil, err
		}
		at = h.first
	}
	for ; at != none; at = c.at(at).next {
		if one := c.at(at); one.image {
			page = append(page[:0], one.data...)
		} else {
			page = one.op(h.page).Patch(page)
		}
	}
	return page, nil
}

// values appends the stored form of the changes of a page.
func (c *chain) values(h *history, to []Value, mem *slab) []Value {
	for at := h.first; at != none; {
		size, end := 0, at
		for ; end != none && (end == at || !c.at(end).cut); end = c.at(end).next {
			size += c.at(end).size() + maxStep
		}
		v := Value{Page: h.page, First: c.at(at).lsn, Buf: mem.take(layout.ChunkHeaderBytes + size)[:layout.ChunkHeaderBytes]}
		for lsn := v.First; at != end; at = c.at(at).next {
			one := c.at(at)
			v.Buf = layout.AppendChange(v.Buf, uint64(one.lsn-lsn), one.op(h.page))
			lsn = one.lsn
		}
		to = append(to, v)
	}
	return to
}

// maxStep is what the LSN of a change takes beyond what size counts, if records
// are of usual sizes.
const maxStep = 3

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
