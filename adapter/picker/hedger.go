package picker

import (
	"slices"
	"time"
)

// Hedging tells when a read that is late is sent to a second replica, too.
type Hedging struct {
	// Off sends no read twice.
	Off bool
	// Delay is how long the first replica has; zero is what 95 of 100 reads of
	// late took, and at least 2 ms.
	Delay time.Duration
	// Percent bounds the reads that are sent twice, of all; default 10.
	Percent int
}

const (
	// samples are those that the delay is taken from; it is taken again with
	// every freshen-th. Before the first time it is firstDelay.
	samples, freshen      = 256, 16
	firstDelay, leastWait = 10 * time.Millisecond, 2 * time.Millisecond
	// burst is how many reads may be sent twice in a row.
	burst = 10
)

// Hedger keeps reads that are sent twice within a budget: every read earns a
// share of one, and what is saved is bounded, so that a cluster which is slow as
// a whole is not given more work than it has.
type Hedger struct {
	cfg    Hedging
	saved  float64
	recent []time.Duration
	count  int
	delay  time.Duration
}

// NewHedger makes a Hedger with a full budget.
func NewHedger(cfg Hedging) *Hedger {
	if cfg.Percent == 0 {
		cfg.Percent = 10
	}
	return &Hedger{cfg: cfg, saved: burst, delay: firstDelay}
}

// Begin counts a read and returns how long its first replica has; false when no
// second one is to be asked.
func (h *Hedger) Begin() (time.Duration, bool) {
	h.saved = min(h.saved+float64(h.cfg.Percent)/100, burst)
	if h.cfg.Delay > 0 {
		return h.cfg.Delay, !h.cfg.Off
	}
	return h.delay, !h.cfg.Off
}

// Spend tells whether a read may be sent twice, and counts it.
func (h *Hedger) Spend() bool {
	if h.saved < 1 {
		return false
	}
	h.saved--
	return true
}

// Took takes in how long the replica took that answered a read, from when it was
// asked. What was given up is not counted, or the delay would grow with every
// replica that is slow.
func (h *Hedger) Took(d time.Duration) {
	if len(h.recent) < samples {
		h.recent = append(h.recent, d)
	} else {
		h.recent[h.count%samples] = d
	}
	h.count++
	if h.count%freshen == 0 {
		sorted := slices.Sorted(slices.Values(h.recent))
		h.delay = max(sorted[len(sorted)*95/100], leastWait)
	}
}
