package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/cmd/internal/testbed"
)

// lane is one volume under load: its writer, and the records that wait for
// their acknowledgement. Any number of goroutines may append.
type lane struct {
	client *ship.Client
	writer writer
	ring   [][]byte // payloads
	// phase tells whether what is acknowledged now is measured.
	phase *phase
	took  *testbed.Latencies

	// appending puts records into the order of their LSNs.
	appending sync.Mutex
	together  []pinetree.Record // those of one append
	base      pinetree.LSN      // where the log was when the load began
	tail      pinetree.LSN
	appended  int // records

	acked atomic.Int64 // records
	bytes atomic.Int64 // of their payloads
	mu    sync.Mutex
	wait  queue
}

// writer is what a load needs of a ship.Writer.
type writer interface {
	Append(ctx context.Context, records ...pinetree.Record) error
	Flush(ctx context.Context) error
	Err() error
	Progress() ship.Progress
	Close() error
}

// phase is the part of a run that all lanes are in.
type phase struct{ measured atomic.Bool }

// waiting is a record whose acknowledgement is timed.
type waiting struct {
	lsn   pinetree.LSN
	since time.Time
	// heard, which has room for one, is told; nil when nobody waits.
	heard chan<- struct{}
}

// newLane makes a lane of a load.
func (l *load) newLane() *lane {
	return &lane{ring: l.ring, phase: &l.phase, took: testbed.NewLatencies(), together: make([]pinetree.Record, l.cfg.Together)}
}

// open opens a writer on the lane's volume, with a window of that many bytes.
func (l *lane) open(ctx context.Context, cfg ship.Config, window int, compress bool) (err error) {
	if l.client, err = ship.Dial(ctx, cfg); err != nil {
		return err
	}
	w, err := l.client.OpenWriter(ctx, ship.WriterConfig{WindowBytes: window, Compress: compress, Acked: l.hear})
	if err != nil {
		_ = l.client.Close() // the error that counts is the one before
		return fmt.Errorf("volume %s: %w", cfg.Volume, err)
	}
	l.base = w.Durable()
	l.writer, l.tail = w, l.base
	return nil
}

// append appends as many records together as the lane has room for; w is what
// becomes of the acknowledgement of the last one, nil when nobody asks. It
// waits while the window is full.
func (l *lane) append(ctx context.Context, w *waiting) error {
	l.appending.Lock()
	defer l.appending.Unlock()
	at := l.tail
	for i := range l.together {
		payload := l.ring[(l.appended+i)%len(l.ring)]
		l.together[i] = pinetree.Record{Prev: at, LSN: at + pinetree.LSN(len(payload)), Payload: payload}
		at = l.together[i].LSN
	}
	if w != nil {
		w.lsn = at
		l.mu.Lock()
		l.wait.push(*w)
		l.mu.Unlock()
	}
	if err := l.writer.Append(ctx, l.together...); err != nil {
		return err
	}
	l.tail = at
	l.appended += len(l.together)
	return nil
}

// hear is the writer's callback.
func (l *lane) hear(batch ship.Acked) {
	now := time.Now()
	measured := l.phase.measured.Load()
	l.acked.Add(int64(batch.Records))
	// An LSN is as far above the one before as its record has bytes.
	l.bytes.Store(int64(batch.LSN - l.base))
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.wait.count > 0 && l.wait.first().lsn <= batch.LSN {
		w := l.wait.pop()
		if measured {
			l.took.Record(now.Sub(w.since))
		}
		if w.heard != nil {
			w.heard <- struct{}{}
		}
	}
}

// done tells how far the log goes, once nobody appends any more.
func (l *lane) done() pinetree.LSN {
	l.appending.Lock()
	defer l.appending.Unlock()
	return l.tail
}

// close ends the writer, after everything was acknowledged or the run failed.
func (l *lane) close() error {
	err := l.writer.Close()
	if closeErr := l.client.Close(); err == nil {
		err = closeErr
	}
	return err
}

// queue is first in, first out, in a ring that grows when it is full.
type queue struct {
	ring  []waiting
	head  int
	count int
}

func (q *queue) push(w waiting) {
	if q.count == len(q.ring) {
		grown := make([]waiting, max(64, 2*len(q.ring)))
		n := copy(grown, q.ring[q.head:])
		copy(grown[n:], q.ring[:q.head])
		q.ring, q.head = grown, 0
	}
	q.ring[(q.head+q.count)%len(q.ring)] = w
	q.count++
}

// first is the oldest; there must be one.
func (q *queue) first() *waiting { return &q.ring[q.head] }

// pop removes the oldest; there must be one.
func (q *queue) pop() waiting {
	w := q.ring[q.head]
	q.ring[q.head] = waiting{}
	q.head = (q.head + 1) % len(q.ring)
	q.count--
	return w
}
