package pace

import (
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
)

const ms = time.Millisecond

func at(n int) lease.Instant { return lease.Instant(time.Hour).Add(time.Duration(n) * ms) }

func TestTheUsualTimeFollowsWhatIsMeasured(t *testing.T) {
	var u Usual
	if got := u.Now(at(0), 0); got != 0 {
		t.Fatalf("nothing measured: %v", got)
	}
	u.Take(8*ms, at(0))
	if got := u.Now(at(0), 0); got != 8*ms {
		t.Errorf("the first one counts all: %v", got)
	}
	if u.Take(80*ms, at(10)); u.Now(at(10), 0) != 17*ms {
		t.Errorf("the next one counts an eighth: %v", u.Now(at(10), 0))
	}
	for i := range 40 {
		u.Take(80*ms, at(20+i))
	}
	if got := u.Now(at(60), 0); got < 79*ms || got > 80*ms {
		t.Errorf("after many of 80 ms: %v", got)
	}
	if got := u.Now(at(60), 300*ms); got != 300*ms {
		t.Errorf("one of 300 ms is under way: %v", got)
	}
	if got := u.Now(at(60+5001), 0); got != 0 {
		t.Errorf("long ago: %v", got)
	}
	if u.Take(ms, at(60+5001)); u.Now(at(60+5001), 0) != ms {
		t.Errorf("the first one after a long time counts all: %v", u.Now(at(60+5001), 0))
	}
}

func TestReplayingStallsWhenNothingIsReplayedOfWhatWaits(t *testing.T) {
	var r Replay
	done := pinetree.RaftIndex(10)
	want := func(now int, stalled time.Duration) {
		t.Helper()
		if got := r.Stalled(done, at(now)); got != stalled {
			t.Errorf("at %d ms: stalled for %v, want %v", now, got, stalled)
		}
	}
	want(0, 0)
	r.Hand(Commit{Index: 11, At: done}, at(100))
	want(400, 300*ms)
	r.Hand(Commit{Index: 15, At: done}, at(500)) // more of it is no progress
	want(600, 500*ms)
	done = 11
	r.Reach(done, at(700))
	want(800, 100*ms)
	done = 15
	r.Reach(done, at(900))
	want(5000, 0)
	r.Hand(Commit{Index: 16, At: done}, at(5000)) // it did not wait before
	want(5010, 10*ms)
	done = 20 // a snapshot
	want(9000, 0)
}

func TestReplayingTimesOneCommitAtATime(t *testing.T) {
	var r Replay
	r.Hand(Commit{Index: 11, At: 10}, at(0))
	r.Hand(Commit{Index: 12, At: 10}, at(30))
	if got := r.Usual(10, at(50)); got != 50*ms {
		t.Errorf("one is under way for 50 ms: %v", got)
	}
	r.Reach(11, at(60))
	if got := r.Usual(11, at(70)); got != 60*ms {
		t.Errorf("it took 60 ms: %v", got)
	}
	r.Reach(12, at(1000)) // whose time is not taken
	if got := r.Usual(12, at(1000)); got != 60*ms {
		t.Errorf("another one came later: %v", got)
	}
	r.Hand(Commit{Index: 13, At: 12}, at(2000))
	if got := r.Usual(20, at(4000)); got != 60*ms {
		t.Errorf("a snapshot has overtaken it: %v", got)
	}
	r.Hand(Commit{Index: 21, At: 20}, at(4000))
	r.Reach(21, at(4004))
	if got := r.Usual(21, at(4004)); got != 53*ms {
		t.Errorf("one of 4 ms: %v", got)
	}
}
