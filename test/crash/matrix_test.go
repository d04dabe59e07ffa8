package crash

import (
	"cmp"
	"maps"
	"os"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/pinetree-db/pinetree"
)

const (
	// sizeVariable is the environment variable that, when it is "full", asks for
	// every call; strikeVariable names one run.
	sizeVariable, strikeVariable = "PINETREE_CRASH", "PINETREE_CRASH_STRIKE"
	// sample is how many calls of each machine are tried by default, beside one of
	// each sort.
	sample = 3
)

// tally is what the runs of a test have seen.
type tally struct {
	runs, struck                                               int
	snapshots, elections, revivals, annotated, stopped, wentOn int64
	calls                                                      map[string]int // that were struck first
}

// add takes the marks of a run.
func (s *tally) add(c *cluster, struck []string) {
	s.runs++
	s.snapshots += c.marks.snapshots.Load()
	s.elections += c.marks.elections.Load()
	s.revivals += c.marks.revivals.Load()
	s.annotated += c.marks.annotated.Load()
	s.stopped += c.marks.stopped.Load()
	s.wentOn += c.marks.wentOn.Load()
	if len(struck) > 0 {
		s.struck++
		s.calls[struck[0]]++
	}
}

// run goes through the story with what the plan says going wrong, and returns the
// calls that each machine made.
func (s *tally) run(t *testing.T, p plan) (calls map[pinetree.NodeID][]string) {
	t.Helper()
	calls = map[pinetree.NodeID][]string{}
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, p)
		defer c.close()
		members := c.story()
		c.grid.Lock()
		for _, m := range c.machines {
			calls[m.id] = slices.Clone(m.calls)
		}
		struck := c.grid.struck
		c.grid.Unlock()
		c.judge(members)
		s.add(c, struck)
	})
	return calls
}

// TestAReplicaSurvivesACrashAtEveryCall runs the story again and again, with
// something bad at another call of another machine each time.
func TestAReplicaSurvivesACrashAtEveryCall(t *testing.T) {
	seen := map[kind]*tally{}
	for _, kind := range kinds {
		s := &tally{calls: map[string]int{}}
		seen[kind] = s
		t.Run(string(kind), func(t *testing.T) {
			for _, engine := range backends {
				dry := s.run(t, plan{engine: engine, kind: kind})
				for victim := pinetree.NodeID(1); victim <= 4 && !t.Failed(); victim++ {
					for _, at := range points(dry[victim], len(kind)+int(victim)) {
						s.run(t, plan{engine, kind, victim, at})
					}
				}
			}
			t.Logf("%+v", *s)
		})
	}
	if !t.Failed() {
		judge(t, seen)
	}
}

// points are the calls to try, counted from 1: every one, or a sample in which
// each sort of call is.
func points(calls []string, salt int) (list []int) {
	step := 1
	if os.Getenv(sizeVariable) != "full" {
		step = max(1, len(calls)/sample)
		of := map[string][]int{}
		for i, call := range calls {
			of[call] = append(of[call], i+1)
		}
		for _, call := range slices.Sorted(maps.Keys(of)) {
			list = append(list, of[call][salt*5%len(of[call])])
		}
	}
	for at := 1 + salt*7%step; at <= len(calls); at += step {
		list = append(list, at)
	}
	return list
}

// judge fails a test in which what it is about has hardly happened.
func judge(t *testing.T, seen map[kind]*tally) {
	t.Helper()
	calls := map[string]int{}
	for kind, s := range seen {
		if s.struck < s.runs*3/4 {
			t.Errorf("%s: in %d of %d runs nothing went wrong", kind, s.runs-s.struck, s.runs)
		}
		if s.snapshots < 3*int64(s.runs)/2 {
			t.Errorf("%s: %d snapshots were installed in %d runs, which install two each", kind, s.snapshots, s.runs)
		}
		if s.elections <= int64(s.runs) {
			t.Errorf("%s: %d elections in %d runs: no leader was ever struck", kind, s.elections, s.runs)
		}
		if s.annotated < 3*int64(s.runs) {
			t.Errorf("%s: in %d runs %d starts had metadata to compare; each run ends with three", kind, s.runs, s.annotated)
		}
		for call, count := range s.calls {
			calls[call] += count
		}
	}
	if s := seen[failing]; s.stopped == 0 || s.wentOn == 0 {
		t.Errorf("%d replicas stopped after a failure, and %d times the group went on meanwhile", s.stopped, s.wentOn)
	}
	for _, call := range []string{"write", "sync", "create", "rename", "remove"} {
		if calls[call] == 0 {
			t.Errorf("no %s was ever struck: %v", call, calls)
		}
	}
}

// TestStrike repeats the run that the environment names, or one of them, with what
// the nodes have to say.
func TestStrike(t *testing.T) {
	text := cmp.Or(os.Getenv(strikeVariable), "wal/killed/2/99")
	p, err := parsePlan(text)
	if err != nil {
		t.Fatalf("%s=%s: want such as wal/killed/2/99: %v", strikeVariable, text, err)
	}
	s := &tally{calls: map[string]int{}}
	s.run(t, p)
	t.Logf("%+v", *s)
}
