package model

import (
	"bytes"
	"slices"
	"sort"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// state is what a volume must read like: all its changes, as they came. It
// shares no code with an engine but the messages.
type state struct {
	pages map[uint64][]change
	keys  map[string][]change
	names []string // of keys, in order
	log   []entry
}

// change is what one op of a record did to a page or a key.
type change struct {
	lsn    pinetree.LSN
	whole  bool // an image of the page
	gone   bool // the key was deleted
	offset int
	data   []byte
}

// entry is a batch of the log.
type entry struct {
	prev, lsn pinetree.LSN
	encoded   []byte
}

func newState() *state { return &state{pages: map[uint64][]change{}, keys: map[string][]change{}} }

// record adds what a record does.
func (s *state) record(lsn pinetree.LSN, redo *storepb.Redo) {
	for _, op := range redo.Ops {
		switch op := op.Op.(type) {
		case *storepb.RedoOp_PageImage:
			s.onPage(op.PageImage.Page, change{lsn: lsn, whole: true, data: op.PageImage.Image})
		case *storepb.RedoOp_PagePatch:
			s.onPage(op.PagePatch.Page, change{lsn: lsn, offset: int(op.PagePatch.Offset), data: op.PagePatch.Bytes})
		case *storepb.RedoOp_KeyPut:
			s.onKey(string(op.KeyPut.Key), change{lsn: lsn, data: op.KeyPut.Value})
		case *storepb.RedoOp_KeyDelete:
			s.onKey(string(op.KeyDelete.Key), change{lsn: lsn, gone: true})
		}
	}
}

func (s *state) onPage(page uint64, c change) { s.pages[page] = append(s.pages[page], c) }

func (s *state) onKey(name string, c change) {
	if len(s.keys[name]) == 0 {
		at, _ := slices.BinarySearch(s.names, name)
		s.names = slices.Insert(s.names, at, name)
	}
	s.keys[name] = append(s.keys[name], c)
}

// upTo are the changes at or below an LSN.
func upTo(changes []change, at pinetree.LSN) []change {
	return changes[:sort.Search(len(changes), func(i int) bool { return changes[i].lsn > at })]
}

// page is a page as of an LSN and its last change; not there when nothing had
// changed it.
func (s *state) page(page uint64, at pinetree.LSN) (data []byte, lsn pinetree.LSN, there bool) {
	changes := upTo(s.pages[page], at)
	if len(changes) == 0 {
		return nil, 0, false
	}
	first := len(changes) - 1
	for first > 0 && !changes[first].whole {
		first--
	}
	for _, c := range changes[first:] {
		if c.whole {
			data = bytes.Clone(c.data)
			continue
		}
		for end := c.offset + len(c.data); len(data) < end; {
			data = append(data, 0)
		}
		copy(data[c.offset:], c.data)
	}
	return data, changes[len(changes)-1].lsn, true
}

// key is a key's value as of an LSN.
func (s *state) key(name string, at pinetree.LSN) (value []byte, lsn pinetree.LSN, there bool) {
	changes := upTo(s.keys[name], at)
	if len(changes) == 0 || changes[len(changes)-1].gone {
		return nil, 0, false
	}
	last := changes[len(changes)-1]
	return last.data, last.lsn, true
}

// list is what a RangeSpec asks for.
func (s *state) list(spec engine.RangeSpec) (items []engine.Item, more bool) {
	first, _ := slices.BinarySearch(s.names, string(spec.Start))
	for _, name := range s.names[first:] {
		if len(spec.End) > 0 && name >= string(spec.End) {
			break
		}
		value, lsn, there := s.key(name, spec.At)
		if !there {
			continue
		}
		if len(items) == spec.Limit {
			return items, true
		}
		items = append(items, engine.Item{Key: []byte(name), Value: value, LSN: lsn})
	}
	return items, false
}

// after are the first batches that hold a record above an LSN.
func (s *state) after(from pinetree.LSN, most int) []entry {
	first := sort.Search(len(s.log), func(i int) bool { return s.log[i].lsn > from })
	return s.log[first:min(first+most, len(s.log))]
}
