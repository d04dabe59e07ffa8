package ship

import (
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// held tells a writer that it waits for the ingest rate, while the world is so, and
// is done when that is to be told again.
func (w *world) held(stream wirepb.Compute_ShipServer) <-chan time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.makesWait == 0 {
		return nil
	}
	// An end of the stream is found elsewhere.
	_ = stream.Send(&wirepb.ShipResponse{WaitMs: uint64(w.makesWait.Milliseconds())})
	return time.After(20 * time.Millisecond)
}

func TestAWriterThatWaitsForTheIngestRateNeitherStallsNorGivesUp(t *testing.T) {
	w := newWorld(t)
	writer := w.open(WriterConfig{RetryFor: 300 * time.Millisecond, StallAfter: 100 * time.Millisecond})
	ctx, s := within(t), &source{}
	w.change(func() { w.silent, w.makesWait = true, time.Minute })
	must(t, writer.Append(ctx, s.next(10)))
	time.Sleep(900 * time.Millisecond)
	must(t, writer.Err())
	if n := writer.Progress().Resumes; n != 1 {
		t.Errorf("it began anew %d times", n-1)
	}
	w.change(func() { w.silent, w.makesWait = false, 0 })
	must(t, writer.Flush(ctx))
	must(t, writer.Close())
}
