package pagestore

import (
	"container/list"
	"maps"

	"github.com/pinetree-db/pinetree"
)

// pool holds the pages that were used last. Nothing is ever written back from
// it: the storage makes the same pages from the log, so any page may be dropped
// at any time, even before its last change is durable.
//
// Invariant: at most limit pages, and order has the same ones as pages.
type pool struct {
	limit int
	pages map[pinetree.PageNo]*list.Element
	order *list.List // of *frame, the one that was used last in front
}

// frame is a page in the pool.
type frame struct {
	page pinetree.PageNo
	data []byte // PageBytes long; nil for a page that was never written
}

func newPool(limit int) *pool {
	return &pool{limit: max(limit, 1), pages: map[pinetree.PageNo]*list.Element{}, order: list.New()}
}

// get returns what is known of a page, and whether anything is.
func (p *pool) get(page pinetree.PageNo) ([]byte, bool) {
	at, ok := p.pages[page]
	if !ok {
		return nil, false
	}
	p.order.MoveToFront(at)
	return at.Value.(*frame).data, true
}

// put takes a page in and reports whether another one had to go.
func (p *pool) put(page pinetree.PageNo, data []byte) (evicted bool) {
	if at, ok := p.pages[page]; ok {
		at.Value.(*frame).data = data
		p.order.MoveToFront(at)
		return false
	}
	p.pages[page] = p.order.PushFront(&frame{page, data})
	if p.order.Len() <= p.limit {
		return false
	}
	oldest := p.order.Back()
	p.order.Remove(oldest)
	delete(p.pages, oldest.Value.(*frame).page)
	return true
}

// maxRemembered bounds the pages of which versions knows the last change.
const maxRemembered = 1 << 16

// versions knows which version of a page to ask the storage for: the one with the
// last change that this compute node has made. It forgets when there is too much
// to remember; then everything is asked for as of the log's end at that time,
// which is never too old and only ever costs a wait.
type versions struct {
	last  map[pinetree.PageNo]pinetree.LSN
	floor pinetree.LSN // of every page that is not in last
}

// changed takes note of the last change of pages.
func (v *versions) changed(lsn pinetree.LSN, pages map[pinetree.PageNo][]byte) {
	if len(v.last)+len(pages) > maxRemembered {
		clear(v.last)
		v.floor = lsn
		return
	}
	if v.last == nil {
		v.last = map[pinetree.PageNo]pinetree.LSN{}
	}
	for page := range maps.Keys(pages) {
		v.last[page] = lsn
	}
}

// of is the LSN that the storage must have replayed before the page is read. The
// page's own last change is not above it, unless another compute node made it.
func (v *versions) of(page pinetree.PageNo) pinetree.LSN {
	if lsn, ok := v.last[page]; ok {
		return lsn
	}
	return v.floor
}
