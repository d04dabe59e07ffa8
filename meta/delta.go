package meta

import (
	"bytes"
	"fmt"

	"github.com/pinetree-db/pinetree"
)

// Record is what is stored of a Table, one of the two.
type Record struct {
	Change *Change
	Memory *Memory
}

// Delta leads from one Table to a later one.
type Delta struct {
	// Revision and Compacted are those of the later one.
	Revision, Compacted pinetree.MetaRevision
	// Records are what it has more, in the order in which they came to be. Neither
	// they nor what they hold are changed afterwards.
	Records []Record
}

// Advance makes the later Table, and lists the records of both that it has no more.
// A Delta that does not follow on the table is a *pinetree.CorruptError.
func (t *Table) Advance(d Delta) (next *Table, gone []Record, err error) {
	if d.Revision < t.revision || d.Compacted < t.compacted || d.Compacted > d.Revision {
		return nil, nil, misplaced("revision %d, compacted up to %d, cannot follow on revision %d, compacted up to %d", d.Revision, d.Compacted, t.revision, t.compacted)
	}
	next = new(*t)
	next.revision = d.Revision
	for _, r := range d.Records {
		if c := r.Change; c != nil {
			if c.Modified <= t.revision || c.Modified > d.Revision || next.keys.find(c) != nil {
				return nil, nil, misplaced("a change of key %q by revision %d, in a step from %d to %d", c.Key, c.Modified, t.revision, d.Revision)
			}
			next.add(c)
		}
		if m := r.Memory; m != nil {
			if last := next.lastMemory(); m.Index <= last || next.ids.find(m) != nil {
				return nil, nil, misplaced("transaction %x of index %d, after one of index %d", m.ID, m.Index, last)
			}
			gone = next.remember(m, gone)
		}
	}
	return next, next.compact(d.Compacted, gone), nil
}

func misplaced(format string, args ...any) error {
	return &pinetree.CorruptError{Where: "metadata", What: fmt.Sprintf(format, args...)}
}

func (t *Table) add(c *Change) {
	t.keys, t.log = t.keys.insert(c), t.log.insert(c)
	t.bytes += c.Bytes()
}

// compact gives up what only states below a revision had.
func (t *Table) compact(to pinetree.MetaRevision, gone []Record) []Record {
	for c := t.log.first(); c != nil && c.Modified <= to; c = t.log.first() {
		t.log = t.log.remove(c)
		if before := t.keys.floor(probe(c.Key, c.Modified-1)); before != nil && bytes.Equal(before.Key, c.Key) {
			gone = t.drop(before, gone)
		}
		if c.Deleted {
			gone = t.drop(c, gone)
		}
	}
	t.compacted = to
	return gone
}

func (t *Table) drop(c *Change, gone []Record) []Record {
	t.keys = t.keys.remove(c)
	t.bytes -= c.Bytes()
	return append(gone, Record{Change: c})
}

// Records calls fn with all that is to be stored of the table, until fn returns an
// error, which it passes on.
func (t *Table) Records(fn func(Record) error) (err error) {
	t.keys.from(nil, func(c *Change) bool {
		err = fn(Record{Change: c})
		return err == nil
	})
	if err == nil {
		t.memories.from(nil, func(m *Memory) bool {
			err = fn(Record{Memory: m})
			return err == nil
		})
	}
	return err
}
