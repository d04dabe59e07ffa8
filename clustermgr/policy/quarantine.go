package policy

import (
	"slices"
	"time"

	"github.com/pinetree-db/pinetree/lease"
)

// QuarantineRules say for how long a node that was sick is not appointed.
type QuarantineRules struct {
	// First is how long the first quarantine lasts. Each one that follows lasts
	// twice as long as the one before, up to Most.
	First, Most time.Duration
	// Forget is how long after the end of a quarantine the node must have been
	// well for the next one to be a first one again.
	Forget time.Duration
	// Deaths within Window put a node into quarantine when it is back.
	Deaths int
	Window time.Duration
}

// Sentence tells how long the next quarantine of a node lasts, and its number in
// a row, given the number of the last one and how long ago that ended.
func (q QuarantineRules) Sentence(last int, ended time.Duration) (time.Duration, int) {
	if ended > q.Forget {
		last = 0
	}
	return min(q.First<<min(last, 20), q.Most), last + 1
}

// Deaths are when a node died, as far back as it matters.
type Deaths struct{ at []lease.Instant }

// Note takes note of one.
func (d *Deaths) Note(now lease.Instant, q QuarantineRules) {
	d.at = slices.DeleteFunc(append(d.at, now), func(at lease.Instant) bool { return now.Sub(at) > q.Window })
}

// Flaps tells whether the node died so often of late that it is not to be
// trusted with leading.
func (d *Deaths) Flaps(now lease.Instant, q QuarantineRules) bool {
	return q.Deaths > 0 && len(d.at) >= q.Deaths && now.Sub(d.at[len(d.at)-q.Deaths]) <= q.Window
}
