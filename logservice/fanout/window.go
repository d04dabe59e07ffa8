package fanout

import (
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// window is the newest part of a volume's log, as tails are sent it. It has no
// lock and no clock.
//
// Invariants:
//
//	the batches follow directly on one another, and the last one ends at end
//	chunks are those that batches lie in, oldest first
//	bytes is the capacity of the chunks and itemBytes for each batch
//	what was written to a chunk never changes; messages refer to it
type window struct {
	limit  int // on bytes
	bytes  int
	end    pinetree.LSN
	items  []item
	chunks []*chunk
}

// item is a batch of the window.
type item struct {
	prev, lsn pinetree.LSN
	in        *chunk
	from, to  int // where it lies
}

// itemBytes is about what a batch takes beside its bytes.
const itemBytes = 64

// chunk is memory that batches lie in one after the other.
type chunk struct{ bytes []byte }

const minChunkBytes, maxChunkBytes = 4 << 10, 256 << 10

// push appends the next batch. One that does not follow, after a snapshot, begins
// the window anew; one that is too large for it leaves it empty.
func (w *window) push(b pinetree.Batch) {
	if b.Prev != w.end {
		w.clear()
	}
	w.end = b.LSN
	size := wirepb.TailBatchBytes(b.Size())
	if size+itemBytes > w.limit {
		w.clear()
		return
	}
	c := w.room(size)
	from := len(c.bytes)
	c.bytes = wirepb.AppendTailBatch(c.bytes, b.Encoded)
	w.items = append(w.items, item{b.Prev, b.LSN, c, from, len(c.bytes)})
	w.bytes += itemBytes
	w.trim()
}

// room returns a chunk with room for so many bytes.
func (w *window) room(size int) *chunk {
	next := minChunkBytes
	if n := len(w.chunks); n > 0 {
		last := w.chunks[n-1]
		if cap(last.bytes)-len(last.bytes) >= size {
			return last
		}
		next = min(2*cap(last.bytes), maxChunkBytes)
	}
	// A small window keeps several chunks, so that little goes at a time.
	c := &chunk{make([]byte, 0, max(size, min(next, w.limit/8)))}
	w.chunks = append(w.chunks, c)
	w.bytes += cap(c.bytes)
	return c
}

// trim drops the oldest chunks until the window is within its limit.
func (w *window) trim() {
	n := 0
	for w.bytes > w.limit && len(w.chunks) > 0 {
		w.bytes -= cap(w.chunks[0].bytes)
		for n < len(w.items) && w.items[n].in == w.chunks[0] {
			w.bytes -= itemBytes
			n++
		}
		w.chunks = slices.Delete(w.chunks, 0, 1)
	}
	w.items = slices.Delete(w.items, 0, n)
}

// clear drops everything.
func (w *window) clear() {
	w.items, w.chunks, w.bytes = nil, nil, 0
}

// following is the batch with the record that follows on an LSN, if it is here.
func (w *window) following(after pinetree.LSN) (item, bool) {
	if len(w.items) == 0 || after < w.items[0].prev || after >= w.end {
		return item{}, false
	}
	return w.items[w.search(after)], true
}

// search is where the first batch is that has a record above an LSN.
func (w *window) search(after pinetree.LSN) int {
	i, _ := slices.BinarySearchFunc(w.items, after, func(it item, at pinetree.LSN) int {
		if it.lsn <= at {
			return -1
		}
		return 1
	})
	return i
}

// span is a part of the log.
type span struct {
	from, to pinetree.LSN
	pieces   [][]byte
}

// from returns what follows on an LSN: whole batches up to an LSN, and no more
// than limit bytes unless the first batch is larger.
func (w *window) from(after, upTo pinetree.LSN, limit int) span {
	s := span{from: after, to: after}
	i := w.search(after)
	for size := 0; i < len(w.items) && w.items[i].lsn <= upTo; {
		// All of a chunk that is wanted is one piece.
		first, last := w.items[i], item{}
		for ; i < len(w.items) && w.items[i].in == first.in && w.items[i].lsn <= upTo; i++ {
			it := w.items[i]
			if size += it.to - it.from; size > limit && s.to != after {
				size -= it.to - it.from
				break
			}
			last, s.to = it, it.lsn
		}
		if last.in == nil {
			break
		}
		s.pieces = append(s.pieces, last.in.bytes[first.from:last.to:last.to])
		if size >= limit || i < len(w.items) && w.items[i].in == first.in {
			break
		}
	}
	return s
}
