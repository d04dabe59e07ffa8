package retention

import (
	"errors"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
)

// tens is a log of entries of ten bytes, three at a time.
type tens struct{ err error }

func (l tens) Entries(low, high, _ uint64) ([]*raftpb.Entry, error) {
	var entries []*raftpb.Entry
	for ; low < high && len(entries) < 3; low++ {
		entries = append(entries, &raftpb.Entry{Data: make([]byte, 10)})
	}
	return entries, l.err
}

func TestALagIsCountedUpToTheBound(t *testing.T) {
	for name, c := range map[string]struct {
		log  tens
		last int
		want int
	}{
		"none":              {tens{}, 5, 0},
		"a few":             {tens{}, 10, 50},
		"more than is read": {tens{}, 1000, 120},
		"unreadable":        {tens{errors.New("cut off")}, 10, 101},
	} {
		if got := Lag(c.log, 5, pinetree.RaftIndex(c.last), 100); got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, got, c.want)
		}
	}
}
