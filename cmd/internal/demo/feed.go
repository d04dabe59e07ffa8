package demo

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"golang.org/x/time/rate"

	"github.com/pinetree-db/pinetree/adapter/pgwal"
	"github.com/pinetree-db/pinetree/adapter/ship"
)

const (
	// paceBytes is how many bytes a second are fed while faults are made: all
	// of the log would be shipped before the first one.
	paceBytes = 3 << 20
	// trickleBytes is the pace near the end of the paced part, so that the
	// faults happen while something is shipped, however long they take.
	trickleBytes = 256 << 10
	// chunkBytes is how much is fed at a time.
	chunkBytes = 16 << 10
	// trickleAfter is the part of the log after which the feed trickles.
	trickleAfter = 0.7
)

// feed gives the log to the writer at a pace.
type feed struct {
	walker *pgwal.Walker
	writer *ship.Writer
	fed    atomic.Int64 // bytes
	// open is closed when the faults are over: from then on there is no pace.
	open chan struct{}
}

// run feeds the whole log and waits until it is durable.
func (f *feed) run(ctx context.Context) error {
	total := float64(f.walker.Bytes())
	limit := rate.NewLimiter(paceBytes, chunkBytes)
	trickling, waiting := false, 0
	for {
		record, err := f.walker.Next()
		if errors.Is(err, io.EOF) {
			return f.writer.Flush(ctx)
		}
		if err != nil {
			return err
		}
		if err := f.writer.Append(ctx, record); err != nil {
			return err
		}
		fed := f.fed.Add(int64(len(record.Payload)))
		if waiting += len(record.Payload); waiting < chunkBytes {
			continue
		}
		if !trickling && float64(fed) > trickleAfter*total {
			trickling = true
			limit.SetLimit(trickleBytes)
		}
		if err := f.wait(ctx, limit, &waiting); err != nil {
			return err
		}
	}
}

// wait keeps the pace, unless there is none any more.
func (f *feed) wait(ctx context.Context, limit *rate.Limiter, waiting *int) error {
	for ; *waiting > 0; *waiting -= min(*waiting, chunkBytes) {
		select {
		case <-f.open:
			*waiting = 0
			return nil
		default:
		}
		if err := limit.WaitN(ctx, min(*waiting, chunkBytes)); err != nil {
			return err
		}
	}
	return nil
}
