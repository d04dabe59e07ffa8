package load

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"time"
)

// counting is a system that commits after a while, and knows what it was given.
type counting struct {
	mu       sync.Mutex
	calls    int
	most     int // records in a call
	records  uint64
	refuseAt int // this call fails
}

var errRefused = errors.New("refused")

func (c *counting) commit(_ context.Context, records []*Record) error {
	time.Sleep(time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if c.calls == c.refuseAt {
		return errRefused
	}
	c.most = max(c.most, len(records))
	c.records += uint64(len(records))
	return nil
}

func (c *counting) dial(sink Sink) (Client, error) {
	return NewPool(sink, PoolConfig{Records: 8, Bytes: 500, Depth: 2, Most: 2, Commit: c.commit, Close: func() error { return nil }}), nil
}

func TestEachLoadSubmitsWhatItsShapeAllows(t *testing.T) {
	for _, c := range []struct {
		name       string
		shape      Shape
		mostInCall int
	}{
		{"closed loop of one", Shape{Inflight: 1, RecordSize: 100}, 1},
		{"closed loop, calls full of bytes", Shape{Inflight: 64, RecordSize: 100}, 5},
		{"closed loop, calls full of records", Shape{Inflight: 64, RecordSize: 10}, 8},
		{"stream with a window of three", Shape{Window: 300, RecordSize: 100}, 3},
		{"stream with a window smaller than a record", Shape{Window: 10, RecordSize: 100}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			system := &counting{}
			r, err := Run(t.Context(), Config{Shape: c.shape, Warmup: 20 * time.Millisecond, Duration: 150 * time.Millisecond}, system.dial)
			if err != nil {
				t.Fatal(err)
			}
			if system.most != c.mostInCall {
				t.Errorf("at most %d records were in a call, want %d", system.most, c.mostInCall)
			}
			if r.Acked != system.records || r.Acked == 0 {
				t.Errorf("%d records were committed and %d acknowledged", system.records, r.Acked)
			}
			if want := r.OpsPerSecond * float64(c.shape.RecordSize) / 1e6; math.Abs(r.MBPerSecond/want-1) > 1e-9 {
				t.Errorf("%v MB/s, want %v", r.MBPerSecond, want)
			}
			if r.P50 < 1000 || r.P50 > 100_000 || r.P99 < r.P50 || r.P999 < r.P99 {
				t.Errorf("a commit takes a millisecond, and half of them took %v µs; %v, %v", r.P50, r.P99, r.P999)
			}
		})
	}
}

func TestLoadFailsWithItsSystem(t *testing.T) {
	for _, shape := range []Shape{{Inflight: 8, RecordSize: 100}, {Window: 1000, RecordSize: 100}} {
		system := &counting{refuseAt: 5}
		_, err := Run(t.Context(), Config{Shape: shape, Duration: time.Minute}, system.dial)
		if !errors.Is(err, errRefused) {
			t.Errorf("%v: the error is %v", shape, err)
		}
	}
}

func TestRecordsThatAreNeverAcknowledgedAreNoticed(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := Run(ctx, Config{Shape: Shape{Inflight: 2, RecordSize: 10}, Duration: 20 * time.Millisecond}, func(Sink) (Client, error) {
		return silent{}, nil
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
}

type silent struct{}

func (silent) Submit([]*Record) {}
func (silent) Close() error     { return nil }
