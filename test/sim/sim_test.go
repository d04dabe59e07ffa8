package sim

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
)

var (
	seedsFlag  = flag.Int("sim.seeds", 160, "how many seeds TestSeeds runs")
	firstFlag  = flag.Uint64("sim.first", 1, "the first seed")
	mutantFlag = flag.String("sim.mutant", "", "the bug that TestSeeds puts in on purpose")
	themeFlag  = flag.Int("sim.theme", 0, "the kind of trouble, 1 to 9; drawn from the seed when zero")
	traceFlag  = flag.Bool("sim.trace", false, "write everything that happens to standard output")
)

func (r Result) report(t *testing.T, cfg Config) {
	t.Helper()
	t.Errorf("seed %d (%s): %v\n%srepeat with:\n  go test ./test/sim -run TestSeeds -count=1 -args -sim.first=%d -sim.seeds=1 -sim.theme=%d -sim.trace",
		cfg.Seed, r.World, r.Err, r.Tail, cfg.Seed, cfg.Theme)
}

// TestSeeds runs many seeds on all processors and wants every promise kept and
// every mark seen.
func TestSeeds(t *testing.T) {
	var mu sync.Mutex
	marks, batches := Marks{}, 0
	inParallel(*seedsFlag, func(i int) bool {
		cfg := Config{Seed: *firstFlag + uint64(i), Mutant: Mutant(*mutantFlag), Theme: Theme(*themeFlag)}
		if *traceFlag {
			cfg.Trace = os.Stdout
		}
		r := Run(cfg)
		mu.Lock()
		defer mu.Unlock()
		if r.Err != nil {
			r.report(t, cfg)
		}
		marks.Add(r.Marks)
		batches += r.Batch
		return !t.Failed()
	})
	if *seedsFlag < 200 || t.Failed() {
		return
	}
	t.Logf("%d batches\n%s", batches, marks)
	for _, mark := range marks.Missing() {
		t.Errorf("never seen in %d seeds: %s", *seedsFlag, mark)
	}
}

// leaseSeeds is which part of the seeds TestLeaseTrouble runs again.
const leaseSeeds = 3

// TestLeaseTrouble sets one holder of a lease against another.
func TestLeaseTrouble(t *testing.T) {
	var mu sync.Mutex
	marks := Marks{}
	inParallel(*seedsFlag/leaseSeeds, func(i int) bool {
		cfg := Config{Seed: *firstFlag + uint64(i), Theme: Leases}
		r := Run(cfg)
		mu.Lock()
		defer mu.Unlock()
		if r.Err != nil {
			r.report(t, cfg)
		}
		marks.Add(r.Marks)
		return !t.Failed()
	})
	if *seedsFlag < 200 || t.Failed() {
		return
	}
	t.Logf("%d reads under a lease, %d leaders left alone with one", marks[LeaseRead], marks[Usurped])
	for _, mark := range []Mark{Usurped, LeaseHeld, LeaseRead, FallbackAfterRead, GrantWaits, GrantAfterRelease, LateGrant, ManagerFailover, ReleaseAsked, Adopted} {
		if marks[mark] == 0 {
			t.Errorf("never seen in %d seeds: %s", *seedsFlag/leaseSeeds, mark)
		}
	}
}

// inParallel calls run for 0 to n−1 on all processors until it returns false.
func inParallel(n int, run func(int) bool) {
	var wait sync.WaitGroup
	next := make(chan int)
	stop := make(chan struct{})
	var once sync.Once
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := range next {
				if !run(i) {
					once.Do(func() { close(stop) })
				}
			}
		})
	}
	for i := range n {
		select {
		case next <- i:
			continue
		case <-stop:
		}
		break
	}
	close(next)
	wait.Wait()
}

// TestOneSeedHasOneHistory runs some seeds twice.
func TestOneSeedHasOneHistory(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		first, second := Run(Config{Seed: seed}), Run(Config{Seed: seed})
		if first.Sum != second.Sum || first.Time != second.Time || first.Batch != second.Batch {
			t.Errorf("seed %d: two runs differ: sums %x and %x, %v and %v, %d and %d batches", seed,
				first.Sum, second.Sum, first.Time, second.Time, first.Batch, second.Batch)
		}
	}
}

// TestSeedsThatOnceFailed runs testdata/seeds: one seed a line, and what it
// once found.
func TestSeedsThatOnceFailed(t *testing.T) {
	file, err := os.Open("testdata/seeds")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		number, _, _ := strings.Cut(lines.Text(), " ")
		if number == "" || strings.HasPrefix(number, "#") {
			continue
		}
		seed, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			t.Fatal(fmt.Errorf("testdata/seeds: %w", err))
		}
		cfg := Config{Seed: seed}
		if r := Run(cfg); r.Err != nil {
			r.report(t, cfg)
		}
	}
}
