package policy

import (
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/lease"
)

var stormRules = StormRules{Late: 450 * time.Millisecond, Hold: 3 * time.Second, Most: 10 * time.Second}

// watch looks every 50 ms for a while and tells for how long silence proved
// nothing.
func watch(s *Storm, from lease.Instant, length time.Duration, c Census) (held time.Duration) {
	const tick = 50 * time.Millisecond
	for at := from; at < from.Add(length); at = at.Add(tick) {
		if s.Look(at, c, stormRules); s.Holds(at) != "" {
			held += tick
		}
	}
	return held
}

func TestSilenceOfManyProvesNothingForAWhile(t *testing.T) {
	for name, tc := range map[string]struct {
		census Census
		length time.Duration
		want   time.Duration
	}{
		"nobody":                       {Census{0, 5}, time.Minute, 0},
		"one of three":                 {Census{1, 3}, time.Minute, 0},
		"one of one":                   {Census{1, 1}, time.Minute, 0},
		"two of three":                 {Census{2, 3}, 5 * time.Second, 5 * time.Second},
		"a zone of three":              {Census{2, 6}, time.Minute, 0},
		"more than a zone":             {Census{3, 6}, 5 * time.Second, 5 * time.Second},
		"a third of many":              {Census{17, 51}, time.Minute, 0},
		"all, and for a bounded while": {Census{5, 5}, 19 * time.Second, 10 * time.Second},
		"all, again and again":         {Census{5, 5}, 60 * time.Second, 30 * time.Second},
	} {
		var s Storm
		if got := watch(&s, lease.Instant(time.Hour), tc.length, tc.census); got != tc.want {
			t.Errorf("%s: held for %v of %v, want %v", name, got, tc.length, tc.want)
		}
	}
}

func TestAManagerThatWasNotListeningBlamesNobody(t *testing.T) {
	var s Storm
	start, calm := lease.Instant(time.Hour), Census{0, 5}
	if got := watch(&s, start, time.Second, calm); got != 0 {
		t.Fatalf("held for %v without a cause", got)
	}
	paused := start.Add(20 * time.Second)
	if got := watch(&s, paused, 9*time.Second, calm); got != 3*time.Second {
		t.Errorf("held for %v after a pause", got)
	}
	// The pause is followed by nodes that fall silent because they find no other
	// manager: held for longer, but not for ever.
	s = Storm{}
	watch(&s, start, time.Second, calm)
	watch(&s, paused, time.Second, calm)
	if got := watch(&s, paused.Add(time.Second), 19*time.Second, Census{4, 5}); got != 9*time.Second {
		t.Errorf("held for 1 s and then %v", got)
	}
	// A manager that is always late does not hold for ever.
	s = Storm{}
	var held int
	for i := range 120 {
		at := start.Add(time.Duration(i) * 500 * time.Millisecond)
		if s.Look(at, calm, stormRules); s.Holds(at) != "" {
			held++
		}
	}
	if held > 65 || held < 30 {
		t.Errorf("held at %d looks of 120", held)
	}
}

func TestHeldSilenceIsNoDeathAndRefusalIs(t *testing.T) {
	limits := Thresholds{Silent: 450 * time.Millisecond, Dead: 1500 * time.Millisecond, Held: true}
	start := lease.Instant(time.Hour)
	late := start.Add(5 * time.Second)
	var v Vitals
	v.Hear(start)
	if got := v.Health(late, limits); got != Silent {
		t.Errorf("silent for 5 s while silence is held: %v", got)
	}
	v.ProbeBegins(start.Add(time.Second))
	v.ProbeEnds(start.Add(time.Second), false, true)
	if got := v.Health(late, limits); got != Dead {
		t.Errorf("its address refuses connections: %v", got)
	}
	v.Hear(late)
	later := late.Add(2 * time.Second)
	limits.Held = false
	if got := v.Health(later, limits); got != Dead {
		t.Fatalf("silent for 2 s: %v", got)
	}
	v.Bury()
	limits.Held = true
	if got := v.Health(later, limits); got != Dead {
		t.Errorf("one that was found dead before: %v", got)
	}
	v.Hear(later)
	if got := v.Health(later, limits); got != Alive {
		t.Errorf("one that is heard of again: %v", got)
	}
}
