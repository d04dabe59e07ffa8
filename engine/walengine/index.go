package walengine

import (
	"slices"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/walengine/frames"
)

const (
	// indexSpacing is the distance of two entries of a volume in a file's index.
	indexSpacing = 128 << 10
	// maxIndexEntries bounds a file's index, unless there are more volumes.
	maxIndexEntries = 4096
)

// index finds about where in a file a volume's log goes on from an LSN. It has
// an entry for a batch now and then.
type index struct {
	spacing frames.Offset
	entries int
	of      map[pinetree.VolumeID][]indexEntry
}

// indexEntry says that a frame has a batch that begins there.
type indexEntry struct {
	prev pinetree.LSN
	at   frames.Offset
}

func newIndex() *index {
	return &index{spacing: indexSpacing, of: map[pinetree.VolumeID][]indexEntry{}}
}

// add takes note of a batch; batches are added in the order of the log.
func (x *index) add(b pinetree.Batch, at frames.Offset) {
	list := x.of[b.Volume]
	if n := len(list); n > 0 && at-list[n-1].at < x.spacing {
		return
	}
	x.of[b.Volume] = append(list, indexEntry{prev: b.Prev, at: at})
	if x.entries++; x.entries > max(maxIndexEntries, 2*len(x.of)) {
		x.thin()
	}
}

// thin doubles the spacing.
func (x *index) thin() {
	x.spacing *= 2
	x.entries = 0
	for id, list := range x.of {
		kept := list[:1]
		for _, e := range list[1:] {
			if e.at-kept[len(kept)-1].at >= x.spacing {
				kept = append(kept, e)
			}
		}
		x.of[id] = slices.Clip(kept)
		x.entries += len(kept)
	}
}

// find returns the offset of a frame at or before the one with the first record
// of the volume above an LSN; no when all such records are in later files or
// the volume has none here.
func (x *index) find(id pinetree.VolumeID, from pinetree.LSN) (at frames.Offset, ok bool) {
	list := x.of[id]
	n, _ := slices.BinarySearchFunc(list, from, func(e indexEntry, from pinetree.LSN) int {
		if e.prev <= from {
			return -1
		}
		return 1
	})
	if len(list) == 0 {
		return 0, false
	}
	return list[max(n-1, 0)].at, true
}

// indexOfFile is a file's index, made when it is first needed. That of the file
// that is written to is there from the beginning, and grows.
type indexOfFile struct {
	mu sync.RWMutex
	x  *index
}

// note adds the batches of a frame.
func (i *indexOfFile) note(batches []pinetree.Batch, at frames.Offset) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.x == nil {
		i.x = newIndex()
	}
	for _, b := range batches {
		i.x.add(b, at)
	}
}

// find looks into the index, which make makes if it is not there.
func (i *indexOfFile) find(id pinetree.VolumeID, from pinetree.LSN, make func() (*index, error)) (at frames.Offset, ok bool, err error) {
	i.mu.RLock()
	x := i.x
	if x != nil {
		at, ok = x.find(id, from)
	}
	i.mu.RUnlock()
	if x != nil {
		return at, ok, nil
	}
	if x, err = make(); err != nil {
		return 0, false, err
	}
	at, ok = x.find(id, from)
	i.mu.Lock()
	i.x = x
	i.mu.Unlock()
	return at, ok, nil
}
