package policy

import (
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func at(d time.Duration) lease.Instant { return lease.Instant(time.Hour + d) }

func TestAReplicaIsBehindSinceWhatItLacksWasCommitted(t *testing.T) {
	var p Progress
	if p.Behind(0, at(0)) != 0 {
		t.Error("behind a group of which nothing was seen")
	}
	for i := range 10 {
		p.See(uint64(10*i), at(time.Duration(i)*100*time.Millisecond))
		p.See(uint64(5*i), at(time.Duration(i)*100*time.Millisecond+1)) // a follower hears of it later
	}
	for _, test := range []struct {
		applied uint64
		then    time.Duration
		want    time.Duration
	}{
		{90, time.Second, 0}, {100, time.Second, 0},
		{89, time.Second, 100 * time.Millisecond}, {80, time.Second, 100 * time.Millisecond},
		{79, time.Second, 200 * time.Millisecond}, {0, time.Second, 900 * time.Millisecond},
		{89, 700 * time.Millisecond, 0}, // its report is older than what it lacks
	} {
		if got := p.Behind(test.applied, at(test.then)); got != test.want {
			t.Errorf("replayed up to %d at %v: behind for %v, want %v", test.applied, test.then, got, test.want)
		}
	}
}

// TestLongLagsAreKnownRoughly holds what is remembered to its bound, and the
// lag that it gives to between half of the true one and all of it.
func TestLongLagsAreKnownRoughly(t *testing.T) {
	var p Progress
	const beat = 150 * time.Millisecond
	for i := range 40_000 {
		p.See(uint64(i+1), at(time.Duration(i)*beat))
		if len(p.marks) > maxMarks {
			t.Fatalf("%d marks", len(p.marks))
		}
	}
	end := at(39_999 * beat)
	for lag := uint64(1); lag < 40_000; lag *= 2 {
		true_ := time.Duration(lag-1) * beat
		if got := p.Behind(40_000-lag, end); got > true_ || got < true_/2-2*beat {
			t.Errorf("%d entries, %v behind: said to be %v", lag, true_, got)
		}
	}
}

func TestReadersAreToldWhatAReplicaIsGoodFor(t *testing.T) {
	var p Progress
	p.See(50, at(0))
	status := func(change func(*wirepb.ReplicaStatus)) *wirepb.ReplicaStatus {
		s := &wirepb.ReplicaStatus{Applied: 40, Volumes: []*wirepb.VolumeStatus{{Volume: 6, AppliedLsn: 1}, {Volume: 7, AppliedLsn: 400}}}
		change(s)
		return s
	}
	ok := func(*wirepb.ReplicaStatus) {}
	for name, test := range map[string]struct {
		member Member
		serves bool
	}{
		"alive":   {Member{Health: Alive, Status: status(ok)}, true},
		"dead":    {Member{Health: Dead, Status: status(ok)}, false},
		"silent":  {Member{Health: Silent, Status: status(ok)}, false},
		"stopped": {Member{Health: Alive, Status: status(func(s *wirepb.ReplicaStatus) { s.Stopped = "disk" })}, false},
		"blank":   {Member{Health: Alive, Status: status(func(s *wirepb.ReplicaStatus) { s.Blank = true })}, false},
		"removed": {Member{Health: Alive, Status: status(func(s *wirepb.ReplicaStatus) { s.Removed = true })}, false},
	} {
		test.member.Node, test.member.Age = 3, 10*time.Millisecond
		got := RouteTo(test.member, 7, &p, at(time.Second))
		if got.Serves != test.serves || got.Node != 3 || got.AppliedLsn != 400 || got.BehindMs != 990 || got.AgeMs != 10 {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := RouteTo(Member{Node: 3, Health: Alive}, 7, &p, at(0)); got.Serves || got.AppliedLsn != 0 {
		t.Errorf("unreported: %v", got)
	}
}
