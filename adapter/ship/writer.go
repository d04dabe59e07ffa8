package ship

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/adapter/outbox"
)

// Writer ships the redo log of one volume under one compute term. Append takes
// records and returns; batches are formed, sent, acknowledged and, after a lost
// connection or on a new leader, sent again in the background, each record once
// and in order. Any number of goroutines may call its methods; records are
// taken in the order in which their Prev chains them.
//
// An append is certain once WaitDurable or Flush has said so. When the Writer
// fails, because its term was replaced or because nobody could serve it for too
// long, every later call tells why, and Resolve tells what became of an append
// that was under way.
type Writer struct {
	client *Client
	cfg    WriterConfig
	term   pinetree.ComputeTerm
	base   pinetree.LSN
	format pinetree.Format

	ctx    context.Context // ends with Close and with the client
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when the Writer's goroutine has ended
	// work holds a token when there may be something to send.
	work chan struct{}

	mu  sync.Mutex
	out *outbox.Box
	// failed is the final error.
	failed error
	// waiting wait for an LSN to be durable.
	waiting waiters
	// room is closed when the window may have room again or the Writer has
	// failed; nil while nobody waits for that.
	room chan struct{}
	// moved is when the log last grew, or had last nothing to wait for.
	moved   time.Time
	applied pinetree.LSN
	gap     gap
	node    pinetree.NodeID // the leader that is shipped to; zero when none
	resumes uint64
}

// OpenWriter opens a compute term and fences every lower one. When it returns,
// Durable is where the log ends: the Prev of the first record to append.
//
// An explicit term must be higher than any that was opened before, or it
// reports *pinetree.StaleComputeTermError: under a term that was used already,
// batches of its earlier writer may be on their way still.
func (c *Client) OpenWriter(ctx context.Context, cfg WriterConfig) (*Writer, error) {
	cfg = cfg.withDefaults(c.cfg)
	if cfg.Term != 0 {
		state, err := c.Reader(ReadConfig{}).State(ctx)
		if err != nil {
			return nil, fmt.Errorf("open compute term %d: %w", cfg.Term, err)
		}
		if state.Term >= cfg.Term {
			return nil, &pinetree.StaleComputeTermError{Volume: c.Volume(), Term: state.Term, Durable: state.Watermarks.Committed}
		}
	}
	w := &Writer{
		client: c, cfg: cfg, term: cfg.Term, done: make(chan struct{}), work: make(chan struct{}, 1),
		moved: time.Now(),
	}
	var opened opening
	err := c.retry(ctx, "open a compute term of volume "+c.cfg.Volume, func(ctx context.Context) (err error) {
		opened, err = w.open(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	w.term, w.base, w.format = opened.term, opened.base, opened.format
	w.out = outbox.New(outbox.Limits{BatchBytes: cfg.BatchBytes, WindowBytes: cfg.WindowBytes, SmallBatches: cfg.SmallBatches}, opened.durable)
	w.ctx, w.cancel = context.WithCancelCause(c.ctx)
	c.writers.Go(w.run)
	return w, nil
}

// Term is the compute term that the Writer opened.
func (w *Writer) Term() pinetree.ComputeTerm { return w.term }

// Base is where the volume's log begins.
func (w *Writer) Base() pinetree.LSN { return w.base }

// Format tells how the volume's payloads are read.
func (w *Writer) Format() pinetree.Format { return w.format }

// Append takes records that follow on what was appended before. They leave
// together and, as long as they fit in one batch of 8 MiB, become durable
// together. It waits while the window is full, and returns as soon as the
// records are buffered: they are not durable yet.
//
// The payloads are the Writer's until the records are acknowledged; they must
// not be changed. The slice that they come in is the caller's again at once. After
// an error none of the records was taken: ErrBadBatch when they do not follow on the
// log, the context's error, or the Writer's final one.
func (w *Writer) Append(ctx context.Context, records ...pinetree.Record) error {
	if len(records) == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	size := 0
	for {
		if w.failed != nil {
			return w.failed
		}
		var err error
		if size, err = w.out.Check(records); err != nil {
			return err
		}
		if w.out.Fits(size) {
			break
		}
		if err := w.waitRoom(ctx); err != nil {
			return fmt.Errorf("append (%s, %s]: %d bytes wait for their acknowledgement: %w", records[0].Prev, records[len(records)-1].LSN, w.out.Buffered(), err)
		}
	}
	if w.out.Buffered() == 0 {
		w.moved = time.Now()
	}
	w.out.Add(records, size)
	w.wake()
	return nil
}

// waitRoom gives up the lock until the window may have room.
func (w *Writer) waitRoom(ctx context.Context) error {
	if w.room == nil {
		w.room = make(chan struct{})
	}
	room := w.room
	w.mu.Unlock()
	defer w.mu.Lock()
	select {
	case <-room:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tell wakes those for whom something has changed.
func (w *Writer) tell() {
	if w.room != nil {
		close(w.room)
		w.room = nil
	}
	if w.failed != nil {
		w.waiting.tellAll()
	} else {
		w.waiting.tell(w.out.Durable())
	}
}

// wake wakes the goroutine that sends.
func (w *Writer) wake() {
	select {
	case w.work <- struct{}{}:
	default:
	}
}

// WaitDurable waits until the log is durable up to an LSN that was appended.
// Nil means that it is, whatever happened since. The Writer's final error means
// that the append is not known to be durable; see Resolve.
func (w *Writer) WaitDurable(ctx context.Context, lsn pinetree.LSN) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if lsn > w.out.Durable() && w.failed == nil {
		if lsn > w.out.Tail() {
			return fmt.Errorf("%w: %s was never appended, the log ends at %s", pinetree.ErrBadBatch, lsn, w.out.Tail())
		}
		if err := w.await(ctx, lsn); err != nil {
			return fmt.Errorf("wait until %s is durable; it is up to %s: %w", lsn, w.out.Durable(), err)
		}
	}
	if lsn <= w.out.Durable() {
		return nil
	}
	return w.failed
}

// await gives up the lock until the log is durable up to an LSN or the Writer
// has failed.
func (w *Writer) await(ctx context.Context, lsn pinetree.LSN) error {
	waiter := w.waiting.add(lsn)
	w.mu.Unlock()
	defer w.mu.Lock()
	select {
	case <-waiter.ready:
		return nil
	case <-ctx.Done():
		w.mu.Lock()
		w.waiting.remove(waiter)
		w.mu.Unlock()
		return ctx.Err()
	}
}

// Flush waits until everything that was appended before the call is durable.
func (w *Writer) Flush(ctx context.Context) error { return w.WaitDurable(ctx, w.Progress().Tail) }

// Durable is the LSN up to which the log is known to be durable.
func (w *Writer) Durable() pinetree.LSN { return w.Progress().Durable }

// Progress is how far a Writer has come. Applied may be below Durable, and
// belongs to the leader.
type Progress struct {
	Applied pinetree.LSN `json:"applied"` // replayed by the leader, readable
	Durable pinetree.LSN `json:"durable"` // acknowledged
	Tail    pinetree.LSN `json:"tail"`    // appended
	// BufferedBytes are appended and not acknowledged, FlightBytes of them
	// sent.
	BufferedBytes int `json:"buffered_bytes"`
	FlightBytes   int `json:"flight_bytes"`
	// Node is the leader that is shipped to, zero while there is none, and
	// Resumes is how often shipping began anew.
	Node    pinetree.NodeID `json:"node"`
	Resumes uint64          `json:"resumes"`
}

// Progress tells how far the Writer has come.
func (w *Writer) Progress() Progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Progress{
		Applied: w.applied, Durable: w.out.Durable(), Tail: w.out.Tail(),
		BufferedBytes: w.out.Buffered(), FlightBytes: w.out.FlightBytes(),
		Node: w.node, Resumes: w.resumes,
	}
}

// Err is the Writer's final error, nil while it works.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

// Resolve asks what became of an append of this Writer, and answers also after
// the Writer has failed or was closed, as long as its client is open.
func (w *Writer) Resolve(ctx context.Context, lsn pinetree.LSN) (Resolution, error) {
	return w.client.Resolve(ctx, adapter.Append{Term: w.term, LSN: lsn})
}

// Close ends the Writer at once. What was not acknowledged may or may not
// become durable; when there is such, Close says so. Call Flush before.
func (w *Writer) Close() error {
	closed := fmt.Errorf("%w: the writer of compute term %d was closed", pinetree.ErrStopped, w.term)
	w.cancel(closed)
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	if ended := context.Cause(w.ctx); w.failed != ended {
		return w.failed
	}
	if w.out.Durable() < w.out.Tail() {
		return fmt.Errorf("%w before everything was acknowledged: appended up to %s, durable up to %s", closed, w.out.Tail(), w.out.Durable())
	}
	return nil
}
