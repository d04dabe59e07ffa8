package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

var slowRules = SlowRules{Ratio: 4, Fsync: 100 * time.Millisecond, Commit: 250 * time.Millisecond, Apply: 500 * time.Millisecond, Looks: 8}

// fsyncs compares nodes 1, 2, … by the milliseconds that an fsync takes them.
func fsyncs(ms ...int) *Paces {
	p := NewPaces()
	for i, took := range ms {
		p.Node(pinetree.NodeID(i+1), time.Duration(took)*time.Millisecond)
	}
	return p
}

func nobody(pinetree.NodeID) bool { return false }

// slow lists who is found slow after so many looks, as "1 2".
func slow(p *Patience, nodes int) string {
	var found []string
	for id := range nodes {
		if p.Slow(pinetree.NodeID(id+1)) != "" {
			found = append(found, fmt.Sprint(id+1))
		}
	}
	return strings.Join(found, " ")
}

func TestANodeIsSlowWhenItsPeersAreNot(t *testing.T) {
	for name, tc := range map[string]struct {
		ms   []int
		want string
	}{
		"all alike":                             {[]int{5, 5, 5}, ""},
		"one is slow":                           {[]int{400, 5, 5}, "1"},
		"slower, and nobody suffers":            {[]int{90, 5, 5}, ""},
		"slow, and no more than the others":     {[]int{400, 390, 410}, ""},
		"slow, and not four times as slow":      {[]int{400, 5, 120}, ""},
		"two of three are slow":                 {[]int{400, 400, 5}, ""},
		"two of five are slow: one at a time":   {[]int{400, 900, 5, 5, 5}, "1"},
		"three of five are slow":                {[]int{400, 400, 400, 5, 5}, ""},
		"two of six are slow":                   {[]int{400, 400, 5, 5, 5, 5}, "1 2"},
		"nobody to compare with":                {[]int{400}, ""},
		"nobody else has measured anything yet": {[]int{400, 0, 0}, ""},
		"one other has":                         {[]int{400, 5, 0}, "1"},
	} {
		var p Patience
		for range slowRules.Looks {
			p.Look(fsyncs(tc.ms...), slowRules, nobody)
		}
		if got := slow(&p, len(tc.ms)); got != tc.want {
			t.Errorf("%s: %v ms: %q is slow, want %q", name, tc.ms, got, tc.want)
		}
	}
}

func TestSlownessIsBelievedWhenItLastsAndEndsWhenItIsOver(t *testing.T) {
	var p Patience
	for range slowRules.Looks - 1 {
		p.Look(fsyncs(400, 5, 5), slowRules, nobody)
	}
	if slow(&p, 3) != "" {
		t.Fatal("believed too early")
	}
	p.Look(fsyncs(5, 5, 5), slowRules, nobody)
	for range slowRules.Looks - 1 {
		p.Look(fsyncs(400, 5, 5), slowRules, nobody)
	}
	if slow(&p, 3) != "" {
		t.Fatal("a look at which it was well did not begin the count anew")
	}
	p.Look(fsyncs(400, 5, 5), slowRules, nobody)
	if why := p.Slow(1); !strings.Contains(why, "an fsync takes 400ms, and 5ms on the other nodes") {
		t.Fatalf("%q", why)
	}
	p.Look(fsyncs(60, 5, 5), slowRules, nobody)
	if slow(&p, 3) != "1" {
		t.Error("well again at more than half of the bound")
	}
	p.Look(fsyncs(49, 5, 5), slowRules, nobody)
	if slow(&p, 3) != "" {
		t.Error("slow below half of the bound")
	}
}

// TestNoMoreThanAThirdAreSlow: what a slow node led is led by the others, so that
// they are the next to be slow.
func TestNoMoreThanAThirdAreSlow(t *testing.T) {
	var p Patience
	one := func(id pinetree.NodeID) bool { return id == 1 }
	for range 3 * slowRules.Looks {
		p.Look(fsyncs(5, 400, 5), slowRules, one)
	}
	if got := slow(&p, 3); got != "" {
		t.Errorf("%q is slow while node 1 of three is in quarantine", got)
	}
	for range 3 * slowRules.Looks {
		p.Look(fsyncs(400, 5, 5), slowRules, one)
	}
	if got := slow(&p, 3); got != "1" {
		t.Errorf("%q is slow; node 1 is, and that it is in quarantine makes it no faster", got)
	}
}

func TestCommitsAndReplayingAreComparedToo(t *testing.T) {
	leader := func(commit, apply time.Duration) *wirepb.ReplicaStatus {
		return &wirepb.ReplicaStatus{Group: 7, Leader: true, CommitUs: uint32(commit.Microseconds()), ApplyUs: uint32(apply.Microseconds())}
	}
	follower := func(apply time.Duration) *wirepb.ReplicaStatus {
		return &wirepb.ReplicaStatus{ApplyUs: uint32(apply.Microseconds())}
	}
	const ms = time.Millisecond
	for name, tc := range map[string]struct {
		add  func(*Paces)
		want string
	}{
		"commits": {func(p *Paces) {
			p.Group(1, leader(800*ms, 0), nil)
			p.Group(2, leader(20*ms, 0), nil)
			p.Group(3, leader(30*ms, 0), nil)
		}, "as a leader it commits in 800ms, and the other nodes in 30ms"},
		"commits of one group of three": {func(p *Paces) {
			p.Group(1, leader(20*ms, 0), nil)
			p.Group(1, leader(800*ms, 0), nil)
			p.Group(1, leader(20*ms, 0), nil)
			p.Group(2, leader(20*ms, 0), nil)
		}, ""},
		"nobody else leads": {func(p *Paces) { p.Group(1, leader(800*ms, 0), nil) }, ""},
		"replaying": {func(p *Paces) {
			p.Group(1, leader(0, 900*ms), []*wirepb.ReplicaStatus{follower(10 * ms), follower(40 * ms)})
		}, "it replays group 7 in 900ms, and the group's other replicas do in 40ms"},
		"replaying, like one of two": {func(p *Paces) {
			p.Group(1, leader(0, 900*ms), []*wirepb.ReplicaStatus{follower(10 * ms), follower(800 * ms)})
		}, ""},
		"replaying, and the others have nothing": {func(p *Paces) {
			p.Group(1, leader(0, 900*ms), []*wirepb.ReplicaStatus{follower(0), nil})
		}, ""},
	} {
		p := fsyncs(5, 5, 5)
		tc.add(p)
		if got := p.Slower(slowRules, nobody); got[1] != tc.want || len(got) > 1 {
			t.Errorf("%s: %v, want %q", name, got, tc.want)
		}
	}
}
