package walk

import "testing"

// small is enough to tell that a rule is missing, unless more is said.
var small = Limits{Ticks: 2, Appointments: 2, Terms: 2, Writes: 1}

func TestNoReachableStateBreaksAPromise(t *testing.T) {
	t.Parallel()
	for _, l := range []Limits{
		{Ticks: 1, Appointments: 2, Terms: 3, Writes: 1},
		{Ticks: 2, Appointments: 2, Terms: 2, Writes: 1, Restarts: 1},
		{Ticks: 2, Appointments: 2, Terms: 2, Writes: 1, Failovers: 1},
	} {
		if testing.Short() {
			l.Ticks = 1
		}
		states, failure := Run(l)
		if failure != "" {
			t.Fatal(failure)
		}
		t.Logf("%d states within %+v", states, l)
	}
}

// TestEveryReachableStateLeadsToALeaderWithALease, once nothing goes wrong any more.
func TestEveryReachableStateLeadsToALeaderWithALease(t *testing.T) {
	t.Parallel()
	for _, l := range []Limits{
		{Ticks: 1, Appointments: 2, Terms: 3, Restarts: 1, Recovery: true},
		{Ticks: 1, Appointments: 2, Terms: 2, Restarts: 1, Failovers: 1, Recovery: true},
	} {
		states, failure := Run(l)
		if failure != "" {
			t.Fatal(failure)
		}
		t.Logf("%d states within %+v", states, l)
	}
}

func TestTheWalkFindsWhatComesWithoutEachRule(t *testing.T) {
	t.Parallel()
	more := map[Rule]Limits{
		SameTerm:          {Appointments: 3, Terms: 3, Writes: 1},
		WaitAfterFailover: {Appointments: 2, Terms: 2, Writes: 1, Failovers: 1},
		Recorded:          {Appointments: 3, Terms: 2, Writes: 1, Failovers: 1},
		Claim:             {Ticks: 2, Appointments: 2, Terms: 2, Writes: 1, Failovers: 1},
		Swap:              {Ticks: 0, Appointments: 2, Terms: 2, Writes: 1, Failovers: 1},
	}
	for rule := Everything + 1; rule < rules; rule++ {
		t.Run(rule.String(), func(t *testing.T) {
			l, special := more[rule]
			if !special {
				l = small
			}
			l.Without = rule
			states, failure := Run(l)
			if failure == "" {
				t.Fatalf("not caught in %d states", states)
			}
			t.Logf("after %d states: %.100s", states, failure)
		})
	}
}
