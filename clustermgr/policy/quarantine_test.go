package policy

import (
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

var quarantineRules = QuarantineRules{First: 30 * time.Second, Most: 30 * time.Minute, Forget: 10 * time.Minute, Deaths: 3, Window: 5 * time.Minute}

func TestEachQuarantineIsTwiceAsLongUpToABound(t *testing.T) {
	last, want := 0, 30*time.Second
	for i := range 40 {
		length, number := quarantineRules.Sentence(last, time.Minute)
		if length != min(want, 30*time.Minute) || number != i+1 {
			t.Fatalf("number %d lasts %v, want %v", number, length, min(want, 30*time.Minute))
		}
		last, want = number, min(2*want, time.Hour)
	}
	if length, number := quarantineRules.Sentence(last, 10*time.Minute+1); length != 30*time.Second || number != 1 {
		t.Errorf("after a long time without: number %d lasts %v", number, length)
	}
	if length, number := quarantineRules.Sentence(0, 30*365*24*time.Hour); length != 30*time.Second || number != 1 {
		t.Errorf("the first one ever: number %d lasts %v", number, length)
	}
}

func TestANodeFlapsWhenItDiesOftenWithinAWindow(t *testing.T) {
	start := lease.Instant(time.Hour)
	var rare, often Deaths
	for i := range 20 {
		at := start.Add(time.Duration(i) * 151 * time.Second)
		rare.Note(at, quarantineRules)
		if rare.Flaps(at, quarantineRules) {
			t.Fatalf("two deaths in 5 minutes, the %d-th in all", i+1)
		}
	}
	for i := range 3 {
		often.Note(start.Add(time.Duration(i)*149*time.Second), quarantineRules)
		if got := often.Flaps(start.Add(time.Duration(i)*149*time.Second), quarantineRules); got != (i == 2) {
			t.Fatalf("death %d: %v", i+1, got)
		}
	}
	if often.Flaps(start.Add(301*time.Second), quarantineRules) {
		t.Error("the first death still counts")
	}
}

// TestOneToBeAvoidedLeadsOnlyWhenNobodyElseCan: that its log is the newest counts
// for more, for only that one surely wins.
func TestOneToBeAvoidedLeadsOnlyWhenNobodyElseCan(t *testing.T) {
	from := Answer{Node: 9, Status: with(log(2, 10), func(s *wirepb.ReplicaStatus) { s.Leader = true })}
	a, b := Answer{Node: 1, Zone: "home", Status: log(2, 10), Avoid: "in quarantine"}, Answer{Node: 2, Leaders: 99, Status: log(2, 10)}
	wish := Wish{Voters: 2, Home: "home", Fresh: time.Second}
	if got, err := Choose([]Answer{a, b}, wish); err != nil || got.Node != 2 {
		t.Errorf("elected node %d, %v", got.Node, err)
	}
	if got, err := ChooseTarget(from, []Answer{a, b}, wish); err != nil || got.Node != 2 {
		t.Errorf("moved to node %d, %v", got.Node, err)
	}
	wish.Not = 2
	if got, err := Choose([]Answer{a, b}, wish); err != nil || got.Node != 1 {
		t.Errorf("elected node %d when node 2 is sick, %v", got.Node, err)
	}
	if got, err := ChooseTarget(from, []Answer{a}, wish); err == nil {
		t.Errorf("moved to node %d, which is to be avoided", got.Node)
	}
	wish.Not, b.Status = 0, log(2, 9)
	if got, err := Choose([]Answer{a, b}, wish); err != nil || got.Node != 1 {
		t.Errorf("elected node %d with a shorter log, %v", got.Node, err)
	}
}
