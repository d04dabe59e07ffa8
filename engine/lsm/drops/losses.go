package drops

import (
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// Losses are the volumes that a group has lost since its position was last stored,
// those that came and went in between included: no stored position tells of them.
// After a crash they are lost again. The zero Losses is ready; any goroutine may use
// it.
type Losses struct {
	mu   sync.Mutex
	list []loss // by rising index
}

type loss struct {
	index  pinetree.RaftIndex // of the first position without the volume
	volume pinetree.VolumeID
}

// Add adds the volumes that the next position has no more. Its index is not below that
// of the call before.
func (l *Losses) Add(old, next pinetree.Position) {
	for id := range old.Volumes {
		if _, there := next.Volumes[id]; !there {
			l.mu.Lock()
			l.list = append(l.list, loss{next.Index, id})
			l.mu.Unlock()
		}
	}
}

// Notes are the entries that go with a position of a generation, and how many volumes
// they note.
func (l *Losses) Notes(of Note, at pinetree.RaftIndex) (entries []sorted.Entry, volumes int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ; volumes < len(l.list) && l.list[volumes].index <= at; volumes++ {
		of.Volume = l.list[volumes].volume
		note, err := of.Entries()
		if err != nil {
			return nil, 0, err
		}
		entries = append(entries, note...)
	}
	return entries, volumes, nil
}

// Noted takes the first ones out of the list, once their notes are stored.
func (l *Losses) Noted(volumes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = l.list[volumes:]
}

// Clear empties the list.
func (l *Losses) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = nil
}
