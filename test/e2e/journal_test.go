package e2e

import (
	"sort"
	"sync"

	"github.com/pinetree-db/pinetree"
)

// journal is what the one writer of a history wrote, in the order of the log: the
// record with LSN n is the n-th. It keeps the newest ones.
type journal struct {
	mu      sync.Mutex
	dropped int // how many are not kept any more
	entries []written
	acked   int // how many of all were acknowledged
}

type written struct {
	access
	acked int64 // when
}

// kept bounds the journal.
const kept = 1 << 18

func (j *journal) append(_ pinetree.LSN, in access) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.entries) == kept {
		j.entries = append([]written(nil), j.entries[kept/2:]...)
		j.dropped += kept / 2
	}
	j.entries = append(j.entries, written{access: in})
}

func (j *journal) ack(lsn pinetree.LSN, at int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.acked = int(lsn)
	j.entries[j.acked-j.dropped-1].acked = at
}

// tail is the newest record that may exist.
func (j *journal) tail() pinetree.LSN {
	j.mu.Lock()
	defer j.mu.Unlock()
	return pinetree.LSN(j.dropped + len(j.entries))
}

// durable is the newest record that was acknowledged before an instant.
func (j *journal) durable(before int64) pinetree.LSN {
	j.mu.Lock()
	defer j.mu.Unlock()
	acked := j.entries[:j.acked-j.dropped]
	return pinetree.LSN(j.dropped + sort.Search(len(acked), func(i int) bool { return acked[i].acked >= before }))
}

// value is what a key of a window held after a record; false when that is not
// known any more.
func (j *journal) value(in access, at pinetree.LSN) (string, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := int(at) - j.dropped - 1; i >= 0; i-- {
		switch e := j.entries[i]; {
		case e.key == in.key:
			return e.value, true
		case e.window < in.window:
			return "", true
		}
	}
	return "", j.dropped == 0
}
