// Package retention decides how much of a raft log is kept for the members of
// its group. The leader asks it, and every message tells the followers. What is
// durable here and everywhere may go. A member that answers is waited for; one
// that is silent for long, or that lags too many bytes, is left behind and gets a
// snapshot when it comes back. While a snapshot is on its way, what follows on it
// is kept. It knows no raft and no clock.
package retention

import (
	"time"

	"github.com/pinetree-db/pinetree"
)

// Limits of what is kept for members that lag.
type Limits struct {
	InactiveAfter time.Duration // silent for longer, a member counts as inactive
	// MaxBytes is how much log is kept for an inactive member, and ActiveShare
	// times as much for one that answers.
	MaxBytes int64
}

// ActiveShare is how many times more log is kept for a member that answers than
// for one that does not: it is cut off only to keep the disk from filling up.
const ActiveShare = 4

// Member is a member of the group as its leader sees it.
type Member struct {
	Match  pinetree.RaftIndex // it has the log up to here
	Silent time.Duration
	Lag    int64 // bytes of log that follow on Match, as far as is known
	// Snapshot is the index of one that is on its way; zero when none is.
	Snapshot pinetree.RaftIndex
}

// Log is what there is to keep.
type Log struct {
	First pinetree.RaftIndex // of the entries that are there
	Floor pinetree.RaftIndex // up to here, nobody else needs it
}

// Needs is up to where the log may go when a member is asked, too: at most the
// log's floor. Left tells that the member is left behind by it.
func (l Limits) Needs(m Member, log Log) (floor pinetree.RaftIndex, left bool) {
	limit := l.MaxBytes
	if m.Silent < l.InactiveAfter {
		limit *= ActiveShare
	}
	switch {
	case m.Snapshot > 0:
		return min(log.Floor, m.Snapshot), false
	case m.Match >= log.Floor:
		return log.Floor, false
	case m.Match+1 < log.First: // it needs a snapshot, whatever is kept
		return log.Floor, false
	case m.Lag > limit:
		return log.Floor, true
	}
	return m.Match, false
}
