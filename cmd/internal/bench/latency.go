package bench

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// shortest and longest bound the latencies that are told apart; what lies
	// outside counts as the bound.
	shortest, longest = time.Microsecond, 10 * time.Minute
	// significantDigits keeps the error of a percentile below 0.1 %.
	significantDigits = 3
)

// latencies counts how long records took. Any goroutine may record.
type latencies struct {
	mu     sync.Mutex
	counts *hdrhistogram.Histogram
}

func newLatencies() *latencies {
	return &latencies{counts: hdrhistogram.New(shortest.Nanoseconds(), longest.Nanoseconds(), significantDigits)}
}

func (l *latencies) record(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Within the bounds it cannot fail.
	_ = l.counts.RecordValue(min(max(took, shortest), longest).Nanoseconds())
}

// merge adds what another one has counted, which nobody records into any more.
func (l *latencies) merge(from *latencies) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Merge(from.counts) // of the same bounds, so nothing is dropped
}

// quantile is the time within which that percentage of the records was
// acknowledged, in microseconds.
func (l *latencies) quantile(percent float64) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return float64(l.counts.ValueAtQuantile(percent)) / 1e3
}

// count is how many records were counted.
func (l *latencies) count() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts.TotalCount()
}
