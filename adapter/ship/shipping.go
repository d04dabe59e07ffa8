package ship

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sort"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/adapter/asking"
	"github.com/pinetree-db/pinetree/adapter/outbox"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// requestBytes is the size at which a request is full, when there are batches
// to put together.
const requestBytes = 1 << 20

// settleTimeout bounds the asking, after a fence, of what became of the batches
// in flight.
const settleTimeout = 3 * time.Second

// opening is an answered Open.
type opening struct {
	term    pinetree.ComputeTerm
	durable pinetree.LSN
	base    pinetree.LSN
	format  pinetree.Format
	node    pinetree.NodeID
	conn    *asking.Conn
}

// open asks, in one round, for the leader and opens the term there. Opening the
// Writer's own term again changes nothing; it tells where the log ends.
func (w *Writer) open(ctx context.Context) (opening, error) {
	var opened opening
	request := &wirepb.OpenRequest{Volume: uint64(w.client.Volume()), ComputeTerm: uint64(w.term), Base: uint64(w.cfg.Base)}
	err := w.client.onLeader(ctx, func(ctx context.Context, at Replica, conn *asking.Conn) error {
		ctx, cancel := context.WithTimeout(ctx, w.client.cfg.AttemptTimeout)
		defer cancel()
		r, err := wirepb.NewComputeClient(conn).Open(ctx, request)
		if err != nil {
			return err
		}
		opened = opening{
			term: pinetree.ComputeTerm(r.ComputeTerm), durable: pinetree.LSN(r.DurableLsn), base: pinetree.LSN(r.Base),
			format: pinetree.Format(r.Format), node: at.Node, conn: conn,
		}
		return nil
	})
	return opened, err
}

// run ships until the Writer is closed or fails.
func (w *Writer) run() {
	defer close(w.done)
	delay := delays{backoff: newDelay()}
	stalls := 0
	for {
		before := w.Durable()
		err := w.session(stalls)
		switch {
		case w.ctx.Err() != nil:
			w.fail(context.Cause(w.ctx))
			return
		case settled(err) && !errors.Is(err, pinetree.ErrCorrupt): // a batch damaged on its way is sent again
			w.settle(err)
			return
		}
		if w.Durable() > before {
			delay.reset()
			stalls = 0
		}
		if errors.Is(err, errStalled) {
			stalls++
		}
		if stuck := w.stuckFor(); stuck > w.cfg.RetryFor {
			w.fail(fmt.Errorf("gave up, nothing was acknowledged for %s; ask Resolve what became of the appends above %s: %w", stuck.Round(time.Millisecond), w.Durable(), err))
			return
		}
		w.client.cfg.Logger.Debug("shipping interrupted", "volume", w.client.cfg.Volume, "compute_term", w.term, "durable", w.Durable(), "error", err)
		select {
		case <-w.ctx.Done():
		case <-time.After(delay.next(w.client.redirected(err))):
		}
	}
}

// stuckFor is for how long appends wait without any progress; zero when none
// do.
func (w *Writer) stuckFor() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.out.Buffered() == 0 {
		return 0
	}
	return time.Since(w.moved)
}

// fail makes an error final.
func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = err
	w.tell()
}

// settle ends a Writer that was refused for good. A fenced one first asks how
// far its own batches got: the durable LSN that the fence names may count the
// new writer's records already.
func (w *Writer) settle(err error) {
	if errors.Is(err, pinetree.ErrStaleComputeTerm) {
		ctx, cancel := context.WithTimeout(w.ctx, settleTimeout)
		defer cancel()
		w.mu.Lock()
		batches := w.out.Batches()
		w.mu.Unlock()
		var failed error
		n := sort.Search(len(batches), func(i int) bool {
			if failed != nil {
				return true
			}
			r, err := w.client.Resolve(ctx, adapter.Append{Term: w.term, LSN: batches[i].LSN})
			failed = err
			return err != nil || r.Outcome != adapter.Committed
		})
		switch {
		case failed != nil:
			err = fmt.Errorf("%w; what became of the appends above %s is not known yet, ask Resolve: %w", err, w.Durable(), failed)
		case n > 0:
			_ = w.acknowledge(0, batches[n-1].LSN)
		}
	}
	w.fail(err)
}

// session ships on one connection until that fails; it returns why.
func (w *Writer) session(stalls int) error {
	ctx, cancel := context.WithCancelCause(w.ctx)
	defer cancel(nil)
	opened, err := w.open(ctx)
	if err != nil {
		return err
	}
	if err := w.acknowledge(opened.node, opened.durable); err != nil {
		return err
	}
	w.begin(opened)
	defer w.end()

	stream, err := wirepb.NewComputeClient(opened.conn).Ship(ctx, wirepb.StreamOptions()...)
	if err == nil {
		err = stream.Send(&wirepb.ShipRequest{Volume: uint64(w.client.Volume()), ComputeTerm: uint64(w.term)})
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("node %d: %w", opened.node, err)
	}
	var receiving sync.WaitGroup
	defer receiving.Wait()
	defer cancel(nil)
	receiving.Go(func() { cancel(fmt.Errorf("node %d: %w", opened.node, w.receive(opened.node, stream))) })
	stall := w.cfg.StallAfter << min(stalls, 3)
	defer w.watch(ctx, stall, func(why error) { cancel(fmt.Errorf("node %d: %w", opened.node, why)) })()
	if err := w.send(ctx, stream); err != nil && !errors.Is(err, io.EOF) {
		cancel(fmt.Errorf("node %d: %w", opened.node, err))
	}
	// After io.EOF the receiver has the reason.
	<-ctx.Done()
	err = context.Cause(ctx)
	if errors.Is(err, pinetree.ErrQueueFull) {
		w.mu.Lock()
		w.out.Slower()
		w.mu.Unlock()
	}
	return err
}

// missing tells in words what the leader waits for, if it said so. Something
// that is durable already means that it was replaced or has lost its way.
func (w *Writer) missing() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gap.at == 0 {
		return ""
	}
	return fmt.Sprintf("; it waits for the batch after %s, and the log is durable up to %s", w.gap.at, w.out.Durable())
}

// begin starts a session: everything that is not acknowledged is to be sent.
func (w *Writer) begin(opened opening) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out.Restart(w.out.Durable())
	w.gap = gap{}
	w.node = opened.node
	w.resumes++
}

func (w *Writer) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.node = 0
}

// send sends what there is to send, until the stream or the context ends.
func (w *Writer) send(ctx context.Context, stream wirepb.Compute_ShipClient) error {
	var small storepb.Compressor
	for {
		w.mu.Lock()
		batches := w.out.Next(requestBytes)
		var records []pinetree.Record
		if len(batches) == 0 {
			records = w.out.Cut()
		}
		w.mu.Unlock()
		switch {
		case len(batches) > 0:
			request := &wirepb.ShipRequest{Batches: make([][]byte, len(batches))}
			for i, b := range batches {
				request.Batches[i] = b.Encoded
			}
			if err := stream.Send(request); err != nil {
				return err
			}
		case len(records) > 0:
			b, err := storepb.EncodeBatch(w.client.Volume(), w.term, records)
			if err != nil {
				return err
			}
			clear(records) // so that the payloads' memory is free
			if w.cfg.Compress {
				b = small.Compress(b)
			}
			w.mu.Lock()
			w.out.Seal(outbox.Batch{Batch: b, Cut: time.Now()})
			w.mu.Unlock()
		default:
			select {
			case <-w.work:
				gather()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// gatherYields is how often gather yields: enough, measured with 256 workers on
// two cores, for most of them to be in the next batch.
const gatherYields = 8

// gather yields the processor to those who are ready to append as well, mostly
// because they have just heard of an acknowledgement, so that what they have next
// leaves in one batch rather than in several small ones. With nobody there it
// takes a microsecond or two.
func gather() {
	for range gatherYields {
		runtime.Gosched()
	}
}

// receive takes in acknowledgements until the stream ends; it returns why.
func (w *Writer) receive(from pinetree.NodeID, stream wirepb.Compute_ShipClient) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the node ended the stream")
		}
		if err != nil {
			return err
		}
		if err := w.acknowledge(from, pinetree.LSN(r.CommittedLsn)); err != nil {
			return err
		}
		w.mu.Lock()
		w.applied = max(w.applied, pinetree.LSN(r.AppliedLsn))
		if r.WaitMs > 0 {
			w.moved = time.Now() // the volume's ingest rate is no stall
		}
		again := r.Resend
		if again {
			w.out.Resend(pinetree.LSN(r.ResendFrom))
		} else if w.gap.reopens(pinetree.LSN(r.MissingLsn), time.Now()) {
			again = true
			w.out.Resend(pinetree.LSN(r.MissingLsn))
		}
		w.mu.Unlock()
		if again {
			w.wake()
		}
	}
}

// gap is a hole that the leader has named: batches came that start later. One
// stream keeps their order, so what is missing was dropped over there.
type gap struct {
	at    pinetree.LSN // where it begins; zero when there is none
	since time.Time
}

// gapPause is how long a resent batch may take before it is sent once more.
const gapPause = 500 * time.Millisecond

// reopens takes note of the hole that is named now and tells whether to send
// from it again: when it is new, and from time to time while it stays.
func (g *gap) reopens(missing pinetree.LSN, now time.Time) bool {
	if missing == 0 || missing == g.at && now.Sub(g.since) < gapPause {
		if missing == 0 {
			g.at = 0
		}
		return false
	}
	*g = gap{missing, now}
	return true
}

// acknowledge takes note that the log is durable up to an LSN, by a node's word.
func (w *Writer) acknowledge(from pinetree.NodeID, durable pinetree.LSN) error {
	w.mu.Lock()
	now := time.Now()
	acked, err := w.out.Ack(durable)
	if len(acked) > 0 {
		w.moved = now
		w.tell()
	}
	w.mu.Unlock()
	if err != nil {
		return err
	}
	for _, b := range acked {
		w.cfg.Acked(Acked{LSN: b.LSN, Records: b.Count, Bytes: b.Size(), Node: from, Latency: now.Sub(b.Cut)})
	}
	if len(acked) > 0 {
		w.wake()
	}
	return nil
}
