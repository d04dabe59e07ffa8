package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
)

// TestASickLeaderHandsOverToAHealthierReplica: of the group that node 1 leads.
func TestASickLeaderHandsOverToAHealthierReplica(t *testing.T) {
	hangs := func(m *Member) { m.FsyncPending = 1600 * time.Millisecond }
	stalls := func(m *Member) { m.Status.ApplyStalledMs = 3100 }
	full := func(m *Member) { m.Space = "stop" }
	slow := func(m *Member) { m.Slow, m.Avoid = "an fsync takes 1s", "slow" }
	confined := func(m *Member) { m.Avoid = "in quarantine" }
	both := func(fs ...func(*Member)) func(*Member) {
		return func(m *Member) {
			for _, f := range fs {
				f(m)
			}
		}
	}
	well := func(*Member) {}
	for name, tc := range map[string]struct {
		members [3]func(*Member)
		want    Action
		reason  string
	}{
		"its disk hangs":                         {[3]func(*Member){hangs, well, well}, Replace, "has not finished an fsync for 1.6s"},
		"it replays nothing":                     {[3]func(*Member){stalls, well, well}, Replace, "replayed nothing for 3.1s"},
		"its disk is full":                       {[3]func(*Member){full, well, well}, Replace, `mark "stop"`},
		"its reserve is used":                    {[3]func(*Member){func(m *Member) { m.Space = "reserve" }, well, well}, Replace, `mark "reserve"`},
		"it is slow":                             {[3]func(*Member){slow, well, well}, Replace, "slower than its peers: an fsync takes 1s"},
		"its disk is getting full":               {[3]func(*Member){func(m *Member) { m.Space = "throttle" }, well, well}, Rest, ""},
		"followers are sick":                     {[3]func(*Member){well, both(hangs, slow), both(stalls, full)}, Rest, ""},
		"one other is well":                      {[3]func(*Member){hangs, stalls, well}, Replace, "fsync"},
		"none is":                                {[3]func(*Member){hangs, stalls, full}, Rest, ""},
		"all disks hang":                         {[3]func(*Member){hangs, hangs, hangs}, Rest, ""},
		"all disks begin to":                     {[3]func(*Member){hangs, func(m *Member) { m.FsyncPending = 800 * time.Millisecond }, func(m *Member) { m.FsyncPending = time.Second }}, Rest, ""},
		"all are full":                           {[3]func(*Member){full, full, full}, Rest, ""},
		"slow, and so are the others":            {[3]func(*Member){slow, slow, slow}, Rest, ""},
		"slow, and the others are avoided":       {[3]func(*Member){slow, confined, confined}, Rest, ""},
		"slow, and one is not":                   {[3]func(*Member){slow, confined, well}, Replace, "slower"},
		"a hung disk is worse than a quarantine": {[3]func(*Member){hangs, confined, confined}, Replace, "fsync"},
		"and worse than a slow one":              {[3]func(*Member){hangs, slow, slow}, Replace, "fsync"},
		"the others are dead":                    {[3]func(*Member){hangs, func(m *Member) { m.Health = Dead }, func(m *Member) { m.Health = Silent }}, Rest, ""},
		"the others have stopped or are blank":   {[3]func(*Member){stalls, func(m *Member) { m.Status.Stopped = "checksum" }, func(m *Member) { m.Status.Blank = true }}, Rest, ""},
		"the other is a learner":                 {[3]func(*Member){stalls, func(m *Member) { m.Status.Voters = []uint64{1, 3} }, func(m *Member) { m.Status = nil }}, Rest, ""},
		"not heard of yet":                       {[3]func(*Member){stalls, func(m *Member) { m.Reported = false }, func(m *Member) { m.Status = nil }}, Rest, ""},
		"a silent leader hands nothing over":     {[3]func(*Member){both(hangs, func(m *Member) { m.Health = Silent }), well, well}, Rest, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := healthy()
			s.Stall = 3 * time.Second
			for i, f := range tc.members {
				f(&s.Members[i])
			}
			got := Decide(s)
			if got.Action != tc.want || !strings.Contains(got.Reason, tc.reason) || got.Sick != (tc.want == Replace) {
				t.Fatalf("%s, %q, sick %t; want %s, %q", got.Action, got.Reason, got.Sick, tc.want, tc.reason)
			}
			if got.Action == Replace && (got.Node != 1 || got.Hard == strings.Contains(got.Reason, "slower")) {
				t.Fatalf("node %d, hard %t: %q", got.Node, got.Hard, got.Reason)
			}
		})
	}
}

// TestAHandOverIsToWhoIsHealthier: a replica that is as sick is no target, and one
// that is to be avoided only when there is no other.
func TestAHandOverIsToWhoIsHealthier(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(second, third *Member)
		want   []pinetree.NodeID
	}{
		"both":                   {func(*Member, *Member) {}, []pinetree.NodeID{2, 3}},
		"one is full":            {func(second, _ *Member) { second.Space = "stop" }, []pinetree.NodeID{3}},
		"one is avoided":         {func(_, third *Member) { third.Avoid = "in quarantine" }, []pinetree.NodeID{2}},
		"avoided and full":       {func(second, third *Member) { second.Avoid, third.Space = "in quarantine", "stop" }, []pinetree.NodeID{2}},
		"both are to be avoided": {func(second, third *Member) { second.Avoid, third.Avoid = "slow", "draining" }, []pinetree.NodeID{2, 3}},
	} {
		s := healthy()
		s.Stall = 3 * time.Second
		s.Members[0].FsyncPending = 2 * time.Second
		tc.change(&s.Members[1], &s.Members[2])
		if got := Decide(s); !slices.Equal(got.To, tc.want) {
			t.Errorf("%s: to %v, want %v", name, got.To, tc.want)
		}
	}
}

// TestWhatWasNotHeardProvesNothingWhileSilenceIsHeld: the manager was paused, and
// all that it knows is as old as its pause.
func TestWhatWasNotHeardProvesNothingWhileSilenceIsHeld(t *testing.T) {
	for name, change := range map[string]func(*Member){
		"no quorum":          func(*Member) {},
		"an fsync under way": func(m *Member) { m.FsyncPending = time.Millisecond },
		"silent":             func(m *Member) { m.Health = Silent },
	} {
		s := healthy()
		for i := range s.Members {
			s.Members[i].Age = 5 * time.Second
			change(&s.Members[i])
		}
		s.Held = "this manager did not listen for 5s"
		if got := Decide(s); got.Action != Rest {
			t.Errorf("%s: %s, %q", name, got.Action, got.Reason)
		}
		s.Held = ""
		if got := Decide(s); got.Action == Rest {
			t.Errorf("%s, and silence counts: nothing is done", name)
		}
	}
}

// TestASickLeaderIsNotAdopted: an election against it that has failed leaves it
// leading under an older appointment, and to adopt it would begin all anew.
func TestASickLeaderIsNotAdopted(t *testing.T) {
	s := healthy()
	s.Record.Appointment, s.Record.Node = 6, 2
	if got := Decide(s); got.Action != Adopt || got.Node != 1 {
		t.Fatalf("healthy: %s of node %d", got.Action, got.Node)
	}
	s.Members[0].Status.QuorumAgeMs = 1600
	if got := Decide(s); got.Action != Elect || got.Sick || !strings.Contains(got.Reason, "node 2, which was to lead, does not") {
		t.Fatalf("without a quorum: %s of node %d, %q", got.Action, got.Node, got.Reason)
	}
}
