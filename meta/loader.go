package meta

import (
	"bytes"
	"slices"

	"github.com/pinetree-db/pinetree"
)

// Loader makes a Table of records that were stored, which it takes in any order.
// The zero Loader is ready. It is used by one goroutine.
type Loader struct {
	changes  []*Change
	memories []*Memory
}

// Add takes a record.
func (l *Loader) Add(r Record) {
	if r.Change != nil {
		l.changes = append(l.changes, r.Change)
	}
	if r.Memory != nil {
		l.memories = append(l.memories, r.Memory)
	}
}

// State says which Table is wanted: that after the raft entry of an index.
type State struct {
	Revision, Compacted pinetree.MetaRevision
	Index               pinetree.RaftIndex
}

// Table makes the Table of a state. Records of later states are left out. Those
// that the state has no more, because they were compacted or forgotten, are left
// out, too, and listed: their storage can be had back. The same change or memory
// twice is a *pinetree.CorruptError.
func (l *Loader) Table(at State) (*Table, []Record, error) {
	if at.Compacted > at.Revision {
		return nil, nil, misplaced("revision %d, compacted up to %d", at.Revision, at.Compacted)
	}
	t := new(*empty)
	t.revision, t.compacted = at.Revision, at.Compacted
	gone, err := l.loadChanges(t)
	if err != nil {
		return nil, nil, err
	}
	memories := slices.DeleteFunc(slices.Clone(l.memories), func(m *Memory) bool { return m.Index > at.Index })
	slices.SortFunc(memories, byIndex)
	for n, m := range memories {
		if n > 0 && memories[n-1].Index == m.Index {
			return nil, nil, misplaced("two transactions of index %d", m.Index)
		}
	}
	excess := max(0, len(memories)-MaxMemories)
	for _, m := range memories[:excess] {
		gone = append(gone, Record{Memory: m})
	}
	t.memories = treeOf(byIndex, memories[excess:])
	for _, m := range memories[excess:] {
		if t.ids.find(m) != nil {
			return nil, nil, misplaced("two transactions of id %x", m.ID)
		}
		t.ids = t.ids.insert(m)
	}
	return t, gone, nil
}

func (l *Loader) loadChanges(t *Table) (gone []Record, err error) {
	changes := slices.DeleteFunc(slices.Clone(l.changes), func(c *Change) bool { return c.Modified > t.revision })
	slices.SortFunc(changes, byKey)
	kept := changes[:0:0]
	for n, c := range changes {
		var next *Change // of the same key
		if n+1 < len(changes) && bytes.Equal(changes[n+1].Key, c.Key) {
			next = changes[n+1]
		}
		switch {
		case next != nil && next.Modified == c.Modified:
			return nil, misplaced("two changes of key %q by revision %d", c.Key, c.Modified)
		case c.Modified <= t.compacted && (c.Deleted || next != nil && next.Modified <= t.compacted):
			gone = append(gone, Record{Change: c})
		default:
			kept = append(kept, c)
			t.bytes += c.Bytes()
		}
	}
	t.keys = treeOf(byKey, kept)
	logged := slices.DeleteFunc(slices.Clone(kept), func(c *Change) bool { return c.Modified <= t.compacted })
	slices.SortFunc(logged, byRevision)
	t.log = treeOf(byRevision, logged)
	return gone, nil
}
