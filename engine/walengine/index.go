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

// index finds about where in a file a volume's log goes on from an LSN. It has an
// entry for a batch now and then, and knows the file up to some frame.
//
// Invariants:
//
//	no frame before known has a batch that was not added
//	reach is the last LSN of each volume that was added
type index struct {
	spacing frames.Offset
	entries int
	of      map[pinetree.VolumeID][]indexEntry
	reach   map[pinetree.VolumeID]pinetree.LSN
	known   frames.Offset
}

// indexEntry says that a frame has a batch that begins there.
type indexEntry struct {
	prev pinetree.LSN
	at   frames.Offset
}

// newIndex knows nothing of the file whose first frame has that offset.
func newIndex(base frames.Offset) index {
	return index{spacing: indexSpacing, of: map[pinetree.VolumeID][]indexEntry{}, reach: map[pinetree.VolumeID]pinetree.LSN{}, known: base}
}

// add takes note of a batch; batches are added in the order of the log.
func (x *index) add(b pinetree.Batch, at frames.Offset) {
	x.reach[b.Volume] = b.LSN
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
// of the volume above an LSN. Of a volume that goes on in what is not known, or
// not at all in this file, it is where that begins.
func (x *index) find(id pinetree.VolumeID, from pinetree.LSN) frames.Offset {
	if x.reach[id] <= from {
		return x.known
	}
	list := x.of[id]
	n, _ := slices.BinarySearchFunc(list, from, func(e indexEntry, from pinetree.LSN) int {
		if e.prev <= from {
			return -1
		}
		return 1
	})
	return list[max(n-1, 0)].at
}

// indexOfFile is a file's index. That of a file that is written to grows with it;
// that of one that was there before grows as it is read.
type indexOfFile struct {
	mu sync.RWMutex
	x  index
}

// note adds the batches of a frame that is written, or walked through, before the
// next one is. Frames that have none need not be noted.
func (i *indexOfFile) note(batches []pinetree.Batch, f frames.Frame) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, b := range batches {
		i.x.add(b, f.At)
	}
	i.x.known = f.End()
}

// learn adds the batches of a frame that was read, if all before it are known.
func (i *indexOfFile) learn(batches []pinetree.Batch, f frames.Frame) {
	i.mu.RLock()
	next := i.x.known == f.At
	i.mu.RUnlock()
	if !next {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.x.known != f.At { // another reader was faster
		return
	}
	for _, b := range batches {
		i.x.add(b, f.At)
	}
	i.x.known = f.End()
}

// find is index.find.
func (i *indexOfFile) find(id pinetree.VolumeID, from pinetree.LSN) frames.Offset {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.x.find(id, from)
}
