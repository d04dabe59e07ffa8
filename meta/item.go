package meta

import (
	"bytes"

	"github.com/pinetree-db/pinetree"
)

// Item is a key as of some revision. Its slices are shared and must not be
// changed.
type Item struct {
	Key, Value []byte
	Created    pinetree.MetaRevision // at which it was made
	Modified   pinetree.MetaRevision // of its last change
	Version    uint64                // how often it was put since it was made, from 1
}

// Change is what one revision does to one key. A deletion has a Key and Modified.
type Change struct {
	Item
	Deleted bool
}

// changeBytes is about what a change takes in memory beside its key and value.
const changeBytes = 128

// Bytes is what the change counts for: its key, its value and a fixed addition
// for what else is kept with them.
func (c Change) Bytes() int64 { return int64(len(c.Key)) + int64(len(c.Value)) + changeBytes }

// Span says which keys are meant: the one Key, or, with an End, those in
// [Key, End). An End of one zero byte is no bound.
type Span struct {
	Key, End []byte
}

// Contains tells whether a key is meant.
func (s Span) Contains(key []byte) bool {
	if len(s.End) == 0 {
		return bytes.Equal(key, s.Key)
	}
	return bytes.Compare(key, s.Key) >= 0 && !s.endsBefore(key)
}

// endsBefore tells that a key that is not below Key is beyond the span.
func (s Span) endsBefore(key []byte) bool {
	switch {
	case len(s.End) == 0:
		return !bytes.Equal(key, s.Key)
	case s.unbounded():
		return false
	}
	return bytes.Compare(key, s.End) >= 0
}

func (s Span) unbounded() bool { return len(s.End) == 1 && s.End[0] == 0 }

func byKey(a, b *Change) int {
	if c := bytes.Compare(a.Key, b.Key); c != 0 {
		return c
	}
	return compareRevisions(a.Modified, b.Modified)
}

func byRevision(a, b *Change) int {
	if c := compareRevisions(a.Modified, b.Modified); c != 0 {
		return c
	}
	return bytes.Compare(a.Key, b.Key)
}

func compareRevisions(a, b pinetree.MetaRevision) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
