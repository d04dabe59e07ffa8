package front

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

const (
	chunkBytes = 1 << 20
	// queueBytes bounds what a server has received and not yet begun to
	// commit. It is more than the window of a stream.
	queueBytes = 8 << 20
)

// errClosed: the queue takes no more.
var errClosed = errors.New("the queue is closed")

// A chunk is a piece of memory that received bytes are read into and batches
// are cut from, without a copy between.
type chunk struct {
	buf     []byte // fixed; its length is its capacity
	filled  int    // bytes received
	whole   int    // end of the last whole frame
	taken   int    // end of the last batch
	records int    // whole frames that are not taken
	refs    atomic.Int32
}

var chunks = sync.Pool{New: func() any { return &chunk{buf: make([]byte, chunkBytes)} }}

func newChunk() *chunk {
	c := chunks.Get().(*chunk)
	c.filled, c.whole, c.taken, c.records = 0, 0, 0, 0
	c.refs.Store(1)
	return c
}

func (c *chunk) release() {
	if c.refs.Add(-1) == 0 {
		chunks.Put(c)
	}
}

// A Batch is some whole frames in the order in which they were received.
type Batch struct {
	Frames  []byte
	Records int
	chunk   *chunk
}

// Release gives the memory of the frames back. It is optional: who never
// releases keeps the frames for as long as it likes.
func (b Batch) Release() { b.chunk.release() }

// A Queue holds what one connection has received. One goroutine fills it, one
// takes batches.
//
// Invariants:
//
//	only the last chunk is filled
//	bytes is the sum of whole - taken of all chunks
type Queue struct {
	tail *chunk // of the goroutine that fills; also the last of chunks

	mu     sync.Mutex
	change sync.Cond
	chunks []*chunk
	bytes  int
	closed bool
}

// NewQueue makes an empty queue.
func NewQueue() *Queue {
	q := &Queue{tail: newChunk()}
	q.change.L = &q.mu
	q.chunks = []*chunk{q.tail}
	return q
}

// Fill has read put bytes into the queue's memory and takes them in. It waits
// while the queue is full. It returns the error of read, or one that says that
// the queue is closed or that the bytes are no frames.
func (q *Queue) Fill(read func(space []byte) (int, error)) error {
	n, err := read(q.tail.buf[q.tail.filled:])
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.bytes > queueBytes && !q.closed {
		q.change.Wait()
	}
	if q.closed {
		return errClosed
	}
	t := q.tail
	t.filled += n
	records, size := Span(t.buf[t.whole:t.filled], 0)
	t.whole, t.records, q.bytes = t.whole+size, t.records+records, q.bytes+size
	if err := q.makeRoom(); err != nil {
		return err
	}
	if records > 0 {
		q.change.Broadcast()
	}
	return nil
}

// makeRoom goes on to a new chunk when the frame that is being received does
// not fit in the last one. The bytes of it that are here already move along.
func (q *Queue) makeRoom() error {
	t := q.tail
	part := t.buf[t.whole:t.filled]
	need := headerBytes
	if len(part) >= headerBytes {
		record := binary.LittleEndian.Uint32(part)
		if record > MaxRecord {
			return fmt.Errorf("a record of %d bytes was announced, the most is %d", record, MaxRecord)
		}
		need += int(record)
	}
	if t.whole+need <= len(t.buf) {
		return nil
	}
	q.tail = newChunk()
	q.tail.filled = copy(q.tail.buf, part)
	q.chunks = append(q.chunks, q.tail)
	return nil
}

// Write fills the queue with a copy of p.
func (q *Queue) Write(p []byte) (int, error) {
	left := p
	for len(left) > 0 {
		err := q.Fill(func(space []byte) (int, error) {
			n := copy(space, left)
			left = left[n:]
			return n, nil
		})
		if err != nil {
			return len(p) - len(left), err
		}
	}
	return len(p), nil
}

// Take waits for records and returns them, at most limit of them when limit is
// not 0, and at most what one chunk holds. It returns false when the queue is
// closed.
func (q *Queue) Take(limit int) (Batch, bool) {
	return q.TakeWhen(limit, func(bool) bool { return true })
}

// TakeWhen is Take, but waits until may allows it, which is asked whenever
// something has changed. A batch is full when it would not grow by waiting.
func (q *Queue) TakeWhen(limit int, may func(full bool) bool) (Batch, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && (q.bytes == 0 || !may(q.full(limit))) {
		q.change.Wait()
	}
	if q.closed {
		return Batch{}, false
	}
	c := q.first()
	b := Batch{Frames: c.buf[c.taken:c.whole:c.whole], Records: c.records, chunk: c}
	if limit > 0 && b.Records > limit {
		_, size := Span(b.Frames, limit)
		b.Frames, b.Records = b.Frames[:size:size], limit
	}
	c.taken, c.records, q.bytes = c.taken+len(b.Frames), c.records-b.Records, q.bytes-len(b.Frames)
	c.refs.Add(1)
	q.change.Broadcast()
	return b, true
}

// first is the chunk that the next batch comes from. There is one, as bytes is
// not 0.
func (q *Queue) first() *chunk {
	for q.chunks[0].records == 0 {
		q.chunks[0].release()
		q.chunks[0] = nil
		q.chunks = q.chunks[1:]
	}
	return q.chunks[0]
}

func (q *Queue) full(limit int) bool {
	return limit > 0 && q.first().records >= limit || q.first() != q.chunks[len(q.chunks)-1]
}

// Nudge has TakeWhen ask again.
func (q *Queue) Nudge() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.change.Broadcast()
}

// Close ends waits in Fill and Take, now and later.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.change.Broadcast()
}
