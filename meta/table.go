package meta

import (
	"fmt"
	"slices"

	"github.com/pinetree-db/pinetree"
)

// Table is the metadata of a volume at its newest revision, with the history that
// is kept. It never changes, so any number of goroutines may read one.
//
// Invariants:
//
//	every change is of a revision at or below revision
//	at or below compacted a key has at most one change, and it is no deletion
//	log holds the changes above compacted, and each revision there has one
type Table struct {
	revision, compacted pinetree.MetaRevision
	bytes               int64
	keys, log           tree[Change] // by key and revision, by revision and key
	memories, ids       tree[Memory] // by index, by id
}

var empty = &Table{
	keys: tree[Change]{compare: byKey}, log: tree[Change]{compare: byRevision},
	memories: tree[Memory]{compare: byIndex}, ids: tree[Memory]{compare: byID},
}

// Empty is the metadata of a new volume.
func Empty() *Table { return empty }

// Revision is the newest one; zero when nothing was ever written.
func (t *Table) Revision() pinetree.MetaRevision { return t.revision }

// Compacted is the oldest revision that can be read.
func (t *Table) Compacted() pinetree.MetaRevision { return t.compacted }

// Bytes is what the keys and values take, history included.
func (t *Table) Bytes() int64 { return t.bytes }

// Stored counts the records of the table.
func (t *Table) Stored() int { return t.keys.count() + t.memories.count() }

// Readable settles which revision a read sees: at itself, or the newest when it is
// zero. Below the compacted revision it is a pinetree.ErrTruncated that names the
// oldest that there is, above the newest a pinetree.ErrNotFound.
func (t *Table) Readable(at pinetree.MetaRevision) (pinetree.MetaRevision, error) {
	switch {
	case at == 0:
		return t.revision, nil
	case at < t.compacted:
		return at, fmt.Errorf("%w: metadata of revision %d was compacted; the oldest is %d", pinetree.ErrTruncated, at, t.compacted)
	case at > t.revision:
		return at, fmt.Errorf("%w: metadata has no revision %d yet; the newest here is %d", pinetree.ErrNotFound, at, t.revision)
	}
	return at, nil
}

// RangeSpec says which items to read.
type RangeSpec struct {
	Span
	Revision pinetree.MetaRevision // zero is the newest
	Limit    int                   // of items; zero is none
	MaxBytes int                   // of keys and values, beyond the first item; zero is no limit
	KeysOnly bool
}

// RangeRead is the answer to a RangeSpec.
type RangeRead struct {
	Revision pinetree.MetaRevision // that was read
	Items    []Item                // in the order of their keys
	More     bool                  // a limit was met
}

// Range reads a key or a range of keys. Errors are those of Readable.
func (t *Table) Range(spec RangeSpec) (RangeRead, error) {
	at, err := t.Readable(spec.Revision)
	read := RangeRead{Revision: at}
	if err != nil {
		return read, err
	}
	bytes := 0
	t.each(spec.Span, at, func(c *Change) bool {
		item := c.Item
		if spec.KeysOnly {
			item.Value = nil
		}
		bytes += len(item.Key) + len(item.Value)
		if n := len(read.Items); n > 0 && (n == spec.Limit || spec.MaxBytes > 0 && bytes > spec.MaxBytes) {
			read.More = true
			return false
		}
		read.Items = append(read.Items, item)
		return true
	})
	return read, nil
}

// get returns what a key is at a revision, or nil when it is not there.
func (t *Table) get(key []byte, at pinetree.MetaRevision) *Change {
	c := t.keys.floor(probe(key, at))
	if c == nil || c.Deleted || !slices.Equal(c.Key, key) {
		return nil
	}
	return c
}

// each calls fn with the keys of a span that are there at a revision, in order,
// until fn returns false.
func (t *Table) each(s Span, at pinetree.MetaRevision, fn func(*Change) bool) {
	if len(s.End) == 0 {
		if c := t.get(s.Key, at); c != nil {
			fn(c)
		}
		return
	}
	for c := t.keys.ceiling(probe(s.Key, 0)); c != nil && !s.endsBefore(c.Key); {
		if there := t.get(c.Key, at); there != nil && !fn(there) {
			return
		}
		c = t.keys.ceiling(probe(c.Key, newest))
	}
}

// newest is above every revision that there will be.
const newest = ^pinetree.MetaRevision(0)

func probe(key []byte, at pinetree.MetaRevision) *Change {
	return &Change{Item: Item{Key: key, Modified: at}}
}

// Since lists what the revisions above one changed, in the order of revisions and
// keys, and up to which revision that is. It lists whole revisions, and so many of
// them that there are not more changes than limit, but at least one. Below the
// compacted revision it is a pinetree.ErrTruncated.
func (t *Table) Since(after pinetree.MetaRevision, limit int) ([]Change, pinetree.MetaRevision, error) {
	if after < t.compacted {
		return nil, after, fmt.Errorf("%w: the changes of metadata after revision %d were compacted; those after %d are kept", pinetree.ErrTruncated, after, t.compacted)
	}
	var list []Change
	through, whole := max(after, t.revision), 0
	t.log.from(probe(nil, after+1), func(c *Change) bool {
		if n := len(list); n > 0 && list[n-1].Modified != c.Modified {
			whole = n
		}
		if whole > 0 && len(list) >= limit {
			through = list[whole-1].Modified
			return false
		}
		list = append(list, *c)
		return true
	})
	if whole > 0 && through < t.revision {
		list = list[:whole]
	}
	return list, through, nil
}

// Reachable is the highest revision, not above the one wished, to which a table
// can be compacted by giving up no more than limit changes of its log, or, where a
// single revision has more, that revision.
func (t *Table) Reachable(wish pinetree.MetaRevision, limit int) pinetree.MetaRevision {
	wish = max(t.compacted, min(wish, t.revision))
	through := wish
	var whole, last pinetree.MetaRevision
	n := 0
	t.log.from(nil, func(c *Change) bool {
		if c.Modified > wish {
			return false
		}
		if c.Modified != last {
			whole, last = last, c.Modified
		}
		if n++; n > limit {
			through = whole
			if whole == 0 {
				through = c.Modified
			}
			return false
		}
		return true
	})
	return through
}
