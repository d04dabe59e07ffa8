package sim

import (
	"sync"
	"testing"
)

// mutants are all bugs put in on purpose, and where trouble finds each. Rare
// ones need more seeds than a quick run has.
var mutants = []struct {
	mutant Mutant
	theme  Theme // any when zero
	rare   bool
}{
	{mutant: SavedBeforeSync},
	{mutant: NoSync},
	{mutant: AckBeforeCommit},
	{mutant: ForgottenVote, theme: Duels, rare: true},
	{mutant: FlushNothing},
	{mutant: CompactForAll},
	{mutant: AppliedBeforeWrite},
	{mutant: FenceIgnored},
	{mutant: NoLeaseCheck},
	{mutant: CachedLeaseCheck, theme: Leases},
	{mutant: NoApplyWait},
	{mutant: LatePublish},
	{mutant: ReusedReadContext, theme: Crashes, rare: true},
	{mutant: SelfActivation, theme: Leases},
	{mutant: CountFromReceipt, theme: Leases},
	{mutant: NoLeaseWait, theme: Leases},
	{mutant: ImpatientManager, theme: Leases},
	{mutant: EternalManager, theme: Leases},
	{mutant: WildClocks, theme: Leases},
	{mutant: BlindChoice},
	{mutant: LogBeforeEngine, theme: Changes},
	{mutant: SavedBeforeInstall, theme: Changes},
	{mutant: RestartOneOff, theme: Changes},
	{mutant: ReportLost, theme: Changes},
	{mutant: CompactUnderWay, theme: Changes},
	{mutant: WipedFounder, theme: LostDisks},
	{mutant: StaleMembership, theme: Changes},
	{mutant: StoppedClock, theme: Leases},
	{mutant: EarlyReadIndex, theme: Leases},
	{mutant: EarlyCommit, theme: Leases},
	{mutant: ReleaseNotForGood, theme: Leases},
	{mutant: ReleaseUnasked, theme: Leases},
	{mutant: GrantBeforeRecord, theme: Leases},
	{mutant: AnotherTerm, theme: Leases},
	{mutant: NotReady, theme: Leases},
	{mutant: TermlessLease, theme: Leases},
	{mutant: MetaForgotten},
	{mutant: TrimTooFar},
	{mutant: TrimBeyondSlot, rare: true},
	{mutant: SlotsUnseen},
	{mutant: TrimForgotten},
	{mutant: SlotsForgotten},
	{mutant: CutAbove},
	{mutant: KeepsLess},
	{mutant: SlotLostEarly},
}

// mostSeeds is after how many seeds a mutant has got away.
const mostSeeds = 1500

// TestEveryMutantIsCaught wants the checkers to find each deliberate bug, the
// rare ones when the simulation runs in its long form.
func TestEveryMutantIsCaught(t *testing.T) {
	listed := map[Mutant]bool{}
	for _, m := range mutants {
		listed[m.mutant] = true
		t.Run(string(m.mutant), func(t *testing.T) {
			if m.rare && *seedsFlag <= 300 {
				t.Skip("needs many seeds; -args -sim.seeds=5000 runs it")
			}
			var mu sync.Mutex
			caught, seed := "", uint64(0)
			inParallel(mostSeeds, func(i int) bool {
				cfg := Config{Seed: 1 + uint64(i), Mutant: m.mutant, Theme: m.theme}
				r := Run(cfg)
				mu.Lock()
				defer mu.Unlock()
				if r.Err != nil && (caught == "" || cfg.Seed < seed) {
					caught, seed = r.Err.Error(), cfg.Seed
				}
				return caught == ""
			})
			if caught == "" {
				t.Fatalf("%d seeds, theme %s: no checker sees it", mostSeeds, m.theme)
			}
			t.Logf("seed %d: %.200s", seed, caught)
		})
	}
	for _, m := range Mutants {
		if !listed[m] {
			t.Errorf("no test for mutant %s", m)
		}
	}
}
