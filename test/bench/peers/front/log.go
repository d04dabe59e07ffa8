package front

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// A Log commits records. Serve takes batches from a queue until it is closed,
// and calls ack, from one goroutine at a time, with the number of records of
// this queue that are committed. It returns when the queue is closed, or with
// an error when records cannot be committed or ack failed. Everything that it
// started has ended by then.
type Log interface {
	Serve(q *Queue, ack func(records uint64) error) error
}

// Pipeline commits batches through something that does so on its own, in the
// order in which they are started.
type Pipeline struct {
	Records int // a batch holds at most so many
	// Depth is how many batches are under way before what comes gathers for a
	// full one; Most is how many are under way at most.
	Depth, Most int
	// Start begins to commit a batch, and returns how to wait for it.
	Start func(Batch) (wait func() error, err error)
}

type started struct {
	records int
	wait    func() error
}

// Serve implements Log.
func (p Pipeline) Serve(q *Queue, ack func(records uint64) error) error {
	underway := make(chan started, p.Most) // never full
	var inFlight atomic.Int64
	var failure error
	var waiter sync.WaitGroup
	waiter.Go(func() {
		failure = settle(underway, func(committed uint64) error {
			inFlight.Add(-1)
			q.Nudge()
			return ack(committed)
		})
		q.Close()
	})
	may := func(full bool) bool {
		n := int(inFlight.Load())
		return n < p.Depth || full && n < p.Most
	}
	var err error
	for {
		b, ok := q.TakeWhen(p.Records, may)
		if !ok {
			break
		}
		var wait func() error
		if wait, err = p.Start(b); err != nil {
			err = fmt.Errorf("start to commit %d records: %w", b.Records, err)
			break
		}
		inFlight.Add(1)
		underway <- started{b.Records, wait}
	}
	close(underway)
	waiter.Wait()
	return errors.Join(err, failure)
}

// settle waits for batches in order, and says after each how many records are
// committed.
func settle(underway <-chan started, committed func(records uint64) error) error {
	var records uint64
	for s := range underway {
		if err := s.wait(); err != nil {
			return fmt.Errorf("commit %d records after %d others: %w", s.records, records, err)
		}
		records += uint64(s.records)
		if err := committed(records); err != nil {
			return err
		}
	}
	return nil
}
