package retention

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
)

func TestWhoIsWaitedFor(t *testing.T) {
	limits := Limits{InactiveAfter: 10 * time.Second, MaxBytes: 1000}
	log := Log{First: 50, Floor: 100}
	for name, c := range map[string]struct {
		m    Member
		want pinetree.RaftIndex
		left bool
	}{
		"it has all":                             {Member{Match: 100}, 100, false},
		"it has more than what is durable here":  {Member{Match: 120}, 100, false},
		"it answers and lags":                    {Member{Match: 70, Lag: 3999}, 70, false},
		"it answers and lags too much":           {Member{Match: 70, Lag: 4001}, 100, true},
		"it is silent and lags little":           {Member{Match: 70, Silent: time.Hour, Lag: 999}, 70, false},
		"it is silent and lags too much":         {Member{Match: 70, Silent: time.Hour, Lag: 1001}, 100, true},
		"it was silent for just not long enough": {Member{Match: 70, Silent: 10*time.Second - 1, Lag: 1001}, 70, false},
		"the log begins right after it":          {Member{Match: 49}, 49, false},
		"the log begins too late for it":         {Member{Match: 48}, 100, false},
		"it gets a snapshot":                     {Member{Match: 3, Lag: 1 << 40, Silent: time.Hour, Snapshot: 80}, 80, false},
		"it gets a newer snapshot":               {Member{Match: 3, Snapshot: 110}, 100, false},
	} {
		if got, left := limits.Needs(c.m, log); got != c.want || left != c.left {
			t.Errorf("%s: up to %d, left behind: %v; want %d, %v", name, got, left, c.want, c.left)
		}
	}
}

// entries makes n entries from an index on, of so many bytes each.
func entries(first pinetree.RaftIndex, bytes ...int) []*raftpb.Entry {
	var list []*raftpb.Entry
	for i, n := range bytes {
		index := uint64(first) + uint64(i)
		list = append(list, &raftpb.Entry{Index: &index, Data: make([]byte, n)})
	}
	return list
}

func TestSizesAreKnownToWithinAStep(t *testing.T) {
	const limit, step = 3200, 100
	var s Size
	total := map[pinetree.RaftIndex]int64{0: 0}
	sum := int64(0)
	for i := pinetree.RaftIndex(1); i <= 100; i++ {
		n := int(i) % 40
		s.Append(entries(i, n), limit)
		sum += int64(n)
		total[i] = sum
	}
	for i := pinetree.RaftIndex(1); i <= 100; i++ {
		want := sum - total[i]
		if got := s.Since(i); got < want || got > want+step+40 {
			t.Errorf("%d bytes after index %d, there are %d", got, i, want)
		}
	}
}

func TestAnOverwrittenEndDoesNotCount(t *testing.T) {
	const limit = 32
	var s Size
	s.Append(entries(1, 10, 10, 10, 10, 10), limit)
	s.Append(entries(3, 10), limit) // 3, 4 and 5 are gone
	if got := s.Since(1); got != 20 {
		t.Errorf("%d bytes after index 1, there are 20", got)
	}
}

func TestTheOldestMarksAreForgottenAndStillEnough(t *testing.T) {
	const limit = 3200
	var s Size
	for i := pinetree.RaftIndex(1); i <= 10_000; i++ {
		s.Append(entries(i, 100), limit)
	}
	if len(s.marks) > maxMarks {
		t.Fatalf("%d marks", len(s.marks))
	}
	if got := s.Since(1); got <= limit*ActiveShare {
		t.Fatalf("%d bytes after index 1: a member there would be waited for", got)
	}
}
