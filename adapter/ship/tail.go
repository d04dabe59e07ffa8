package ship

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/asking"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// TailQuery tells which part of the log to read.
type TailQuery struct {
	// From is where a record ends; the records after it are read. Zero is the
	// log's base.
	From pinetree.LSN
	// Follow goes on with the records to come until the context ends. Without it
	// the reading ends with what the replica that was asked first had replayed when
	// it was asked, or later.
	Follow bool
	// Committed, with Follow, takes records as soon as the replica knows them to be
	// committed: what was read may not be in its pages yet.
	Committed bool
}

// Tail reads the log and calls fn for each record, in order and each once,
// whatever connections break on the way. It checks each batch's checksum and
// that each record follows on the one before. fn may keep the payloads; its
// error ends the reading and is passed on unchanged.
//
// Tail returns the LSN of the last record that fn took. Reports
// *pinetree.TruncatedError when From is no longer kept, and
// *pinetree.CorruptError when what a node sent is damaged or has a hole.
func (r *Reader) Tail(ctx context.Context, q TailQuery, fn func(pinetree.Record) error) (pinetree.LSN, error) {
	ctx, done := r.client.within(ctx)
	defer done()
	t := &tail{reader: r, query: q, fn: fn, at: q.From, alive: time.Now()}
	delay := newDelay()
	for {
		before := t.at
		err := r.round(ctx, t.read)
		switch {
		case t.refused != nil:
			return t.at, t.refused
		case err == nil:
			return t.at, nil
		case ctx.Err() != nil:
			return t.at, fmt.Errorf("tail after %s: %w", t.at, context.Cause(ctx))
		case settled(err):
			return t.at, fmt.Errorf("tail after %s: %w", t.at, err)
		case time.Since(t.alive) > r.client.cfg.RetryFor:
			return t.at, fmt.Errorf("tail after %s: gave up after %s without progress: %w", t.at, r.client.cfg.RetryFor, err)
		}
		if t.at > before {
			delay.Reset()
		}
		r.client.redirected(err)
		select {
		case <-ctx.Done():
		case <-time.After(delay.NextBackOff()):
		}
	}
}

// tail is one Tail under way.
type tail struct {
	reader  *Reader
	query   TailQuery
	fn      func(pinetree.Record) error
	at      pinetree.LSN // end of the last record that fn took
	end     pinetree.LSN // up to where a node had replayed the log
	refused error        // fn's
	alive   time.Time    // when a node last served
}

// read reads on from one node until its stream ends.
func (t *tail) read(ctx context.Context, from Replica, conn *asking.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	options := t.reader.options()
	if !t.query.Follow {
		// A replica that is behind the one before would end too early.
		options.MinLsn = max(options.MinLsn, uint64(t.end))
	}
	stream, err := wirepb.NewReadsClient(conn).Tail(ctx, &wirepb.TailRequest{
		Volume: t.reader.volume(), Options: options, From: uint64(t.at), Follow: t.query.Follow, Committed: t.query.Committed,
	})
	if err != nil {
		return err
	}
	for {
		r, err := stream.Recv()
		// A stream that lived longer than it takes to find out that nobody is
		// there was served, even if there was nothing new to send.
		if err == nil || time.Since(began) > 2*t.reader.client.cfg.ConnectTimeout {
			t.alive = time.Now()
		}
		if errors.Is(err, io.EOF) {
			if t.query.Follow {
				return fmt.Errorf("%w: the node ended the stream", pinetree.ErrStopped)
			}
			return nil
		}
		if err != nil {
			return err
		}
		t.end = max(t.end, pinetree.LSN(r.AppliedLsn))
		for _, encoded := range r.Batches {
			if err := t.take(from.Node, encoded); err != nil || t.refused != nil {
				return err
			}
		}
	}
}

// take checks a batch and hands over the records that were not seen yet.
func (t *tail) take(from pinetree.NodeID, encoded []byte) error {
	b, rest, err := storepb.DecodeBatch(encoded)
	switch {
	case err != nil:
		return err
	case len(rest) != 0 || b.Volume != t.reader.client.Volume():
		return t.corrupt(from, b, "it is of another volume, or more follows it")
	case b.Prev > t.at && t.at != 0:
		return t.corrupt(from, b, "it does not follow on the record before")
	}
	err = storepb.Records(b, func(r pinetree.Record) error {
		switch {
		case r.LSN <= t.at:
			return nil
		case r.Prev != t.at && t.at == t.query.From && t.at != 0:
			return fmt.Errorf("%w: no record ends at %s, one covers (%s, %s]", pinetree.ErrBadBatch, t.at, r.Prev, r.LSN)
		case r.Prev != t.at && t.at != 0:
			return t.corrupt(from, b, fmt.Sprintf("its record (%s, %s] overlaps with the one before", r.Prev, r.LSN))
		}
		if t.refused = t.fn(r); t.refused != nil {
			return t.refused
		}
		t.at = r.LSN
		return nil
	})
	if t.refused != nil {
		return nil // Tail passes it on; it is no failure of the node.
	}
	return err
}

func (t *tail) corrupt(from pinetree.NodeID, b pinetree.Batch, what string) error {
	return &pinetree.CorruptError{
		Where: fmt.Sprintf("tail from node %d after %s: batch (%s, %s] of volume %d", from, t.at, b.Prev, b.LSN, b.Volume),
		What:  what,
	}
}
