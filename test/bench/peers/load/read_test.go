package load

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeReader answers after a delay; answer may change what it answers with.
type fakeReader struct {
	values [][]byte
	delay  time.Duration
	fills  error
	answer func(number int, value []byte) ([]byte, error)

	reads  atomic.Int64
	closed atomic.Int64
}

func (f *fakeReader) Fill(_ context.Context, values [][]byte) error {
	f.values = values
	return f.fills
}

func (f *fakeReader) Read(ctx context.Context, number int) ([]byte, error) {
	f.reads.Add(1)
	select {
	case <-time.After(f.delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if f.answer != nil {
		return f.answer(number, f.values[number])
	}
	return f.values[number], nil
}

func (f *fakeReader) Close() error { f.closed.Add(1); return nil }

func readConfig() Config {
	return Config{Shape: Shape{Reads: true, Inflight: 5, RecordSize: 100}, Warmup: 100 * time.Millisecond, Duration: time.Second}
}

func TestReadsAreCountedAndTimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeReader{delay: 10 * time.Millisecond}
		r, err := RunReads(t.Context(), readConfig(), func() (Reader, error) { return f, nil })
		if err != nil {
			t.Fatal(err)
		}
		// Five workers of 100 reads a second each; a read that begins or ends with
		// the measured time may count or not.
		if r.OpsPerSecond < 490 || r.OpsPerSecond > 510 || r.P50 < 10_000 || r.P50 > 10_200 || r.Acked != Values {
			t.Errorf("five at once, each of 10 ms: %+v", r)
		}
		if mb := r.OpsPerSecond * 100 / 1e6; r.MBPerSecond != mb {
			t.Errorf("%g MB/s, want %g", r.MBPerSecond, mb)
		}
		if n := f.reads.Load(); n < 545 || n > 560 || f.closed.Load() != 1 {
			t.Errorf("%d reads in 1.1 s, closed %d times", n, f.closed.Load())
		}
	})
}

func TestAWrongAnswerIsNoMeasurement(t *testing.T) {
	broken := errors.New("broken")
	for name, f := range map[string]*fakeReader{
		"another value": {answer: func(n int, v []byte) ([]byte, error) {
			if n%100 == 7 {
				return bytes.Repeat([]byte{9}, len(v)), nil
			}
			return v, nil
		}},
		"a part":              {answer: func(_ int, v []byte) ([]byte, error) { return v[:len(v)-1], nil }},
		"nothing":             {answer: func(int, []byte) ([]byte, error) { return nil, nil }},
		"an error":            {answer: func(int, []byte) ([]byte, error) { return nil, broken }},
		"nothing was written": {fills: broken},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f.delay = time.Millisecond
				r, err := RunReads(t.Context(), readConfig(), func() (Reader, error) { return f, nil })
				if err == nil || f.closed.Load() != 1 {
					t.Errorf("%+v, error %v, closed %d times", r, err, f.closed.Load())
				}
			})
		})
	}
	t.Run("the last ones", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cfg, began := readConfig(), time.Now()
			f := &fakeReader{delay: 7 * time.Millisecond, answer: func(_ int, v []byte) ([]byte, error) {
				if time.Since(began) > cfg.Warmup+cfg.Duration {
					return nil, broken
				}
				return v, nil
			}}
			if r, err := RunReads(t.Context(), cfg, func() (Reader, error) { return f, nil }); !errors.Is(err, broken) {
				t.Errorf("reads that fail when the time is over: %+v, error %v", r, err)
			}
		})
	})
	if _, err := RunReads(t.Context(), Config{Shape: Shape{Inflight: 1, RecordSize: 4}}, nil); err == nil || !strings.Contains(err.Error(), "8 bytes") {
		t.Errorf("values without room for their numbers: %v", err)
	}
}
