package testbed

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

// Latencies counts how long things took. Any goroutine may record.
type Latencies struct {
	mu     sync.Mutex
	counts *hdrhistogram.Histogram
}

// NewLatencies has counted nothing yet.
func NewLatencies() *Latencies {
	return &Latencies{counts: hdrhistogram.New(shortest.Nanoseconds(), longest.Nanoseconds(), significantDigits)}
}

// Record counts one.
func (l *Latencies) Record(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Within the bounds it cannot fail.
	_ = l.counts.RecordValue(min(max(took, shortest), longest).Nanoseconds())
}

// Merge adds what another one has counted, which nobody records into any more.
func (l *Latencies) Merge(from *Latencies) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Merge(from.counts) // of the same bounds, so nothing is dropped
}

// Quantile is the time that this percentage of them took at most, in
// microseconds.
func (l *Latencies) Quantile(percent float64) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return float64(l.counts.ValueAtQuantile(percent)) / 1e3
}

// Count is how many were counted.
func (l *Latencies) Count() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts.TotalCount()
}
