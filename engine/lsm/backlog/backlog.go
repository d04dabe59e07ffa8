// Package backlog knows what is still to be done about log that was truncated: when a
// database is asked for the space of what was removed, and how long writers rest
// while more is written than is removed. It removes nothing and reads no clock.
package backlog

import (
	"sync/atomic"
	"time"
)

const (
	// AskEvery is how often space is asked back that compactions have left without a
	// use.
	AskEvery = 10 * time.Minute
	// AskBytes is how much removed log makes asking worth it, and askRemoved how long
	// less than that waits.
	AskBytes   = 256 << 20
	askRemoved = 30 * time.Second
	// slackBytes is how much more may be written than removed, since nothing was left
	// to be removed, before writers rest.
	slackBytes = 128 << 20
	// restPerMiB is how long they rest for each MiB that they write when it is twice
	// as much, and maxRest the most at once.
	restPerMiB = 50 * time.Millisecond
	maxRest    = time.Second
)

// Backlog is what one remover has before it. Behind, End and Ask are the remover's;
// Written may be called by any goroutine. The zero Backlog is ready.
type Backlog struct {
	behind atomic.Bool
	excess atomic.Int64 // bytes of log written beyond what was removed, while behind

	removed int       // bytes of log, since space was last asked back
	asked   time.Time // when that was
}

// Begin notes that the remover looks for work: what is written from now on, it has to
// keep up with.
func (b *Backlog) Begin() { b.behind.Store(true) }

// Removed notes that so many bytes of log were removed, and whether there is more.
func (b *Backlog) Removed(bytes int, more bool) {
	b.removed += bytes
	if !more {
		b.behind.Store(false)
		b.excess.Store(0)
	} else if b.excess.Add(-int64(bytes)) < 0 {
		b.excess.Store(0)
	}
}

// Written notes that so many bytes of log are about to be written, and tells for how
// long to wait before: nothing, unless the remover falls behind.
func (b *Backlog) Written(bytes int) time.Duration {
	if !b.behind.Load() {
		return 0
	}
	over := b.excess.Add(int64(bytes)) - slackBytes
	if over <= 0 {
		return 0
	}
	share := float64(over) / slackBytes
	return min(maxRest, time.Duration(share*float64(bytes)/(1<<20)*float64(restPerMiB)))
}

// Ask tells whether space is to be asked back at a time, and whether after much was
// removed; if not, when to look again.
func (b *Backlog) Ask(dropped bool, now time.Time) (ask, much bool, next time.Duration) {
	waited := now.Sub(b.asked)
	switch {
	case dropped || b.removed >= AskBytes || b.removed > 0 && waited >= askRemoved:
		b.removed, b.asked = 0, now
		return true, true, AskEvery
	case b.removed > 0:
		return false, false, askRemoved - waited
	case waited >= AskEvery:
		b.asked = now
		return true, false, AskEvery
	}
	return false, false, AskEvery - waited
}
