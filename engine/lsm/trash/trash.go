// Package trash lists the keys that a group has no more use for and that may be
// removed only together with a stored position that knows so: an older position
// still needs them. It removes nothing itself.
package trash

import (
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// share is the part of a commit that removals may take which go with a position.
const share = 4

// List is that of one group. The zero List is ready; any goroutine may use it.
type List struct {
	mu   sync.Mutex
	keys []discarded // by rising index
}

type discarded struct {
	index pinetree.RaftIndex // of the first position that has no use for it
	entry sorted.Entry
}

// Add adds the keys of entries, which positions from an index on do not need. The
// index is not below that of the call before.
func (l *List) Add(index pinetree.RaftIndex, entries []sorted.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		l.keys = append(l.keys, discarded{index: index, entry: sorted.Entry{Key: e.Key, Remove: true}})
	}
}

// Next lists the first removals that may go with a position, in one commit.
func (l *List) Next(at pinetree.RaftIndex, limits sorted.Traits) (entries []sorted.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := 0
	for _, k := range l.keys {
		size += k.entry.Size()
		if k.index > at || size > limits.MaxCommitBytes/share || len(entries) >= limits.MaxCommitEntries/share {
			break
		}
		entries = append(entries, k.entry)
	}
	return entries
}

// Has tells whether there are removals that may go with a position.
func (l *List) Has(at pinetree.RaftIndex) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.keys) > 0 && l.keys[0].index <= at
}

// Removed takes the first ones out of the list, once they are removed.
func (l *List) Removed(entries []sorted.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys = l.keys[len(entries):]
}

// Clear empties the list.
func (l *List) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys = nil
}
