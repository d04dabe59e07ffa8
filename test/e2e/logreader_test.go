package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
)

// logReader is a client that follows a ledger's log.
type logReader struct {
	what  string
	at    atomic.Uint64 // LSN
	ended chan error
	leave context.CancelFunc
}

// follow begins to follow the log at each level and as committed, wherever a
// replica answers.
func (c *cluster) follow(volume string) []*logReader {
	c.t.Helper()
	var list []*logReader
	for _, q := range []struct {
		level     pinetree.ReadLevel
		committed bool
	}{
		{pinetree.ReadStale, false}, {pinetree.ReadStale, true}, {pinetree.ReadConsistent, true}, {pinetree.ReadDefault, false},
	} {
		ctx, leave := context.WithCancel(context.Background())
		f := &logReader{what: fmt.Sprintf("%s, committed %v", q.level, q.committed), ended: make(chan error, 1), leave: leave}
		c.t.Cleanup(leave)
		reader := c.client(volume).Reader(ship.ReadConfig{Level: q.level})
		go func() {
			_, err := reader.Tail(ctx, ship.TailQuery{Follow: true, Committed: q.committed}, f.take)
			f.ended <- err
		}()
		list = append(list, f)
	}
	return list
}

// take wants each record of a ledger once, and in order.
func (f *logReader) take(r pinetree.Record) error {
	if at := pinetree.LSN(f.at.Load()); r.Prev != at || r.LSN != at+recordBytes || !bytes.Equal(r.Payload, payload(r.LSN)) {
		return fmt.Errorf("after %s comes (%s, %s] with %q", at, r.Prev, r.LSN, r.Payload)
	}
	f.at.Store(uint64(r.LSN))
	return nil
}

// finish waits until the reader has everything up to the log's end, and ends it.
func (f *logReader) finish(t *testing.T, end pinetree.LSN) {
	t.Helper()
	within(t, 30*time.Second, "the tail at "+f.what, func() error {
		select {
		case err := <-f.ended:
			t.Fatalf("the tail at %s ended at %s of %s: %v", f.what, pinetree.LSN(f.at.Load()), end, err)
		default:
		}
		if at := pinetree.LSN(f.at.Load()); at != end {
			return fmt.Errorf("it is at %s, the log ends at %s", at, end)
		}
		return nil
	})
	f.leave()
	if err := <-f.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the tail at %s ended with %v", f.what, err)
	}
}
