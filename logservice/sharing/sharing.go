// Package sharing tells whether several use something just now, such as the log of
// a group or of a node. Then one that has much takes only a little of it at a time,
// so that nobody waits long behind it; alone it may take as much as it likes. It
// has no goroutine, clock or I/O.
package sharing

import (
	"sync/atomic"
	"time"

	"github.com/pinetree-db/pinetree/lease"
)

// lately is for how long somebody counts as being there.
const lately = 2 * time.Second

// Users are those who use something. The zero Users are nobody. Note is called by
// one goroutine at a time, Several by any.
type Users[K comparable] struct {
	last  K
	at    lease.Instant // of the last use; zero before the first
	mixed atomic.Int64  // lease.Instant at which somebody used it soon after another
}

// Note takes note of a use.
func (u *Users[K]) Note(by K, now lease.Instant) {
	if u.at != 0 && by != u.last && now.Sub(u.at) < lately {
		u.mixed.Store(int64(now))
	}
	u.last, u.at = by, now
}

// Several tells whether more than one has used it lately; of nil, that nobody has.
func (u *Users[K]) Several(now lease.Instant) bool {
	if u == nil {
		return false
	}
	mixed := lease.Instant(u.mixed.Load())
	return mixed != 0 && now.Sub(mixed) < lately
}
