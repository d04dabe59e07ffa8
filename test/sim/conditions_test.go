package sim

import (
	"errors"
	"flag"
	"strings"
	"sync"
	"testing"

	"github.com/pinetree-db/pinetree/test/sim/history"
)

var conditionsFlag = flag.Int("sim.conditions", 0, "how many seeds TestConditions runs without each condition of the lease")

// conditions are what reads under a lease rest on, each with the bug that takes
// it away.
var conditions = []struct {
	holds  string
	mutant Mutant
	theme  Theme
}{
	{"there is a lease", NoLeaseCheck, Leases},
	{"a new leader acknowledges nothing before its activation", SelfActivation, Leases},
	{"the manager waits for the lease before", NoLeaseWait, Leases},
	{"a read waits until the commit index is applied", NoApplyWait, Leases},
	{"the lease is checked at each read", CachedLeaseCheck, Leases},
	{"the lease's clock runs while the machine pauses", StoppedClock, Leases},
	{"a new manager waits", ImpatientManager, Leases},
	{"the lease is counted from before it was asked for", CountFromReceipt, Leases},
	{"clocks drift no more than the rules allow for", WildClocks, Leases},
	{"no quorum read is answered before the activation", EarlyReadIndex, Leases},
	{"nothing is committed before the activation", EarlyCommit, Leases},
	{"a release is for good", ReleaseNotForGood, Leases},
	{"a release counts when the holder answers", ReleaseUnasked, Leases},
	{"index and lease are of one raft term", AnotherTerm, Leases},
	{"a leader has committed in its own raft term", NotReady, Leases},
	{"lease and activation are of one raft term", TermlessLease, Leases},
	{"an activation is recorded before it is granted", GrantBeforeRecord, Leases},
	{"a manager grants only while its office is sure", EternalManager, Leases},
}

// TestConditions counts the seeds in which a stale read gives the absence of a
// condition away. It is a measurement: TestEveryMutantIsCaught is the test.
func TestConditions(t *testing.T) {
	if *conditionsFlag == 0 {
		t.Skip("measures only with -sim.conditions=SEEDS")
	}
	for _, c := range conditions {
		if *mutantFlag != "" && !strings.Contains(*mutantFlag, string(c.mutant)) {
			continue
		}
		var mu sync.Mutex
		stale, first := 0, uint64(0)
		inParallel(*conditionsFlag, func(i int) bool {
			seed := *firstFlag + uint64(i)
			r := Run(Config{Seed: seed, Mutant: c.mutant, Theme: c.theme, ReadsOnly: true})
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(r.Err, history.ErrStale) {
				stale++
				if first == 0 || seed < first {
					first = seed
				}
			} else if r.Err != nil {
				t.Logf("%s: seed %d: %.150s", c.mutant, seed, r.Err)
			}
			return true
		})
		t.Logf("| %s | %s | %s | %d of %d | %d |", c.holds, c.mutant, c.theme, stale, *conditionsFlag, first)
	}
}
