package front

import (
	"errors"
	"fmt"
	"sync"
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
	Depth   int // batches that are started and not committed
	// Start begins to commit a batch, and returns how to wait for it.
	Start func(Batch) (wait func() error, err error)
}

type started struct {
	records int
	wait    func() error
}

// Serve implements Log.
func (p Pipeline) Serve(q *Queue, ack func(records uint64) error) error {
	// What is in the channel, and the one that is waited for, are in flight.
	underway := make(chan started, p.Depth-1)
	var failure error
	var waiter sync.WaitGroup
	waiter.Go(func() {
		failure = settle(underway, ack)
		q.Close()
		for range underway { // the taker may still be in a send
		}
	})
	var err error
	for {
		b, ok := q.Take(p.Records)
		if !ok {
			break
		}
		var wait func() error
		if wait, err = p.Start(b); err != nil {
			err = fmt.Errorf("start to commit %d records: %w", b.Records, err)
			break
		}
		underway <- started{b.Records, wait}
	}
	close(underway)
	waiter.Wait()
	return errors.Join(err, failure)
}

func settle(underway <-chan started, ack func(records uint64) error) error {
	var committed uint64
	for s := range underway {
		if err := s.wait(); err != nil {
			return fmt.Errorf("commit %d records after %d others: %w", s.records, committed, err)
		}
		committed += uint64(s.records)
		if err := ack(committed); err != nil {
			return err
		}
	}
	return nil
}
