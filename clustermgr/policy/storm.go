package policy

import (
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree/lease"
)

// StormRules say when silence is taken for a trouble of the network, or of the
// manager itself, rather than of the nodes that are silent.
type StormRules struct {
	// Late is how long after its last look a manager that looks again knows that
	// it was not listening.
	Late time.Duration
	// Hold is for how long silence proves nothing then, and at most Most in a row,
	// after which it counts for as long.
	Hold, Most time.Duration
}

// Storm tells when timeouts take no leaders away: more than a third of the nodes
// that lived, and at least two, are silent at once, or the manager was late. A
// refused connection is proof in any weather. It belongs to whoever looks.
type Storm struct {
	looked, began, until lease.Instant
	why                  string
}

// Census counts the nodes that are not dead: those that are Silent, and all.
type Census struct{ Silent, All int }

// Look takes in how the nodes are.
func (s *Storm) Look(now lease.Instant, c Census, r StormRules) {
	late := now.Sub(s.looked)
	if s.looked != 0 && late > r.Late {
		s.hold(now, r, r.Hold, fmt.Sprintf("this manager did not listen for %v", late.Round(time.Millisecond)))
	}
	if c.Silent >= 2 && 3*c.Silent > c.All {
		s.hold(now, r, r.Most, fmt.Sprintf("%d of %d nodes fell silent at once", c.Silent, c.All))
	}
	s.looked = now
}

func (s *Storm) hold(now lease.Instant, r StormRules, length time.Duration, why string) {
	switch {
	case now < s.until:
		s.until = max(s.until, min(now.Add(length), s.began.Add(r.Most)))
	case s.until == 0 || now >= s.until.Add(r.Most):
		s.began, s.until, s.why = now, now.Add(length), why
	}
}

// Holds says why timeouts prove nothing now, or nothing.
func (s *Storm) Holds(now lease.Instant) string {
	if now >= s.until {
		return ""
	}
	return s.why
}
