package memengine

import (
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

// volume is one volume's log and the changes that it made, each list in LSN
// order. A change keeps its op as it came: reads replay the ops, which is slow
// and leaves little that could be wrong.
type volume struct {
	log   []pinetree.Batch
	pages map[pinetree.PageNo][]change
	keys  map[string][]change
	names []string // the keys of keys, sorted
	// dropped is the LSN up to which what no read needs was dropped.
	dropped pinetree.LSN
}

// change is an op and the LSN of its record. Several ops of one record have
// the same LSN and keep their order.
type change struct {
	lsn pinetree.LSN
	op  engine.Op
}

func newVolume() *volume {
	return &volume{pages: map[pinetree.PageNo][]change{}, keys: map[string][]change{}}
}

// decode lists what a batch changes of pages and keys.
func decode(b pinetree.Batch, format pinetree.Format) (changes []change, err error) {
	if format != pinetree.FormatRedo {
		return nil, nil
	}
	err = engine.EachOp(b, func(lsn pinetree.LSN, op engine.Op) error {
		changes = append(changes, change{lsn: lsn, op: op})
		return nil
	})
	return changes, err
}

// add replays a batch whose changes were decoded.
func (v *volume) add(b pinetree.Batch, changes []change) {
	v.log = append(v.log, b)
	for _, c := range changes {
		v.change(c)
	}
}

func (v *volume) change(c change) {
	if c.op.Kind == engine.PageImage || c.op.Kind == engine.PagePatch {
		v.pages[c.op.Page] = append(v.pages[c.op.Page], c)
		return
	}
	name := string(c.op.Key)
	if i, found := slices.BinarySearch(v.names, name); !found {
		v.names = slices.Insert(v.names, i, name)
	}
	v.keys[name] = append(v.keys[name], c)
}

// upTo copies what was there at an LSN. The copy shares no slice that grows.
func (v *volume) upTo(at pinetree.LSN) *volume {
	left := newVolume()
	left.dropped = v.dropped
	for _, b := range v.log {
		if b.LSN <= at {
			left.log = append(left.log, b)
		}
	}
	for page, changes := range v.pages {
		if kept := visible(changes, at); len(kept) > 0 {
			left.pages[page] = slices.Clone(kept)
		}
	}
	for _, name := range v.names {
		if kept := visible(v.keys[name], at); len(kept) > 0 {
			left.keys[name] = slices.Clone(kept)
			left.names = append(left.names, name)
		}
	}
	return left
}

// visible is the part of a list of changes that a read at an LSN sees.
func visible(changes []change, at pinetree.LSN) []change {
	n, _ := slices.BinarySearchFunc(changes, at, func(c change, at pinetree.LSN) int {
		if c.lsn <= at {
			return -1
		}
		return 1
	})
	return changes[:n]
}

// page replays a page as of an LSN; false when nothing ever changed it.
func (v *volume) page(page pinetree.PageNo, at pinetree.LSN) (image []byte, last pinetree.LSN, ok bool) {
	changes := visible(v.pages[page], at)
	first := len(changes) - 1
	for first > 0 && changes[first].op.Kind != engine.PageImage {
		first--
	}
	for _, c := range changes[max(first, 0):] {
		if c.op.Kind == engine.PageImage {
			image = slices.Clone(c.op.Data)
		} else {
			image = c.op.Patch(image)
		}
		last, ok = c.lsn, true
	}
	return image, last, ok
}

// key reads a key as of an LSN; false when it is not set.
func (v *volume) key(name string, at pinetree.LSN) (engine.Item, bool) {
	changes := visible(v.keys[name], at)
	if len(changes) == 0 || changes[len(changes)-1].op.Kind == engine.KeyDelete {
		return engine.Item{}, false
	}
	last := changes[len(changes)-1]
	return engine.Item{Key: []byte(name), Value: slices.Clone(last.op.Data), LSN: last.lsn}, true
}
