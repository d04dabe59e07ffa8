// Package metatest is the part of the engines' conformance suite that is about
// metadata, and what other suites need to have metadata in their writes.
package metatest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/meta"
)

// Source makes what entries change of the metadata of a group's volumes, as their
// replay does, for writes that are made one index at a time.
type Source struct {
	t      testing.TB
	tables engine.Metadata
	writes []engine.MetaWrite
}

// NewSource is the Source of a group without metadata.
func NewSource(t testing.TB) Source { return Source{t: t, tables: engine.Metadata{}} }

// Take ends the write at hand and returns its part.
func (s *Source) Take() []engine.MetaWrite {
	writes := s.writes
	s.writes = nil
	return writes
}

// Table is a volume's metadata after the write at hand.
func (s *Source) Table(id pinetree.VolumeID) *meta.Table { return s.tables.Table(id) }

// Txn adds a transaction to the write at hand, whose position has the index of the
// write before.
func (s *Source) Txn(at *pinetree.Position, id pinetree.VolumeID, x meta.Txn) {
	s.t.Helper()
	delta, _, err := meta.Evaluate(s.Table(id), meta.Proposal{Txn: x, Index: at.Index + 1, Quota: 1 << 30})
	if err != nil {
		s.t.Fatalf("transaction: %v", err)
	}
	s.advance(at, id, delta)
}

// Compact adds a compaction.
func (s *Source) Compact(at *pinetree.Position, id pinetree.VolumeID, to pinetree.MetaRevision) {
	s.t.Helper()
	s.advance(at, id, meta.Delta{Revision: s.Table(id).Revision(), Compacted: to})
}

func (s *Source) advance(at *pinetree.Position, id pinetree.VolumeID, delta meta.Delta) {
	s.t.Helper()
	before := s.Table(id)
	if len(delta.Records) == 0 && delta.Compacted == before.Compacted() {
		return
	}
	after, _, err := before.Advance(delta)
	if err != nil {
		s.t.Fatalf("metadata: %v", err)
	}
	s.tables[id] = after
	v := at.Volumes[id]
	v.MetaRevision, v.MetaCompacted, v.MetaBytes = after.Revision(), after.Compacted(), after.Bytes()
	at.Volumes[id] = v
	s.writes = Merge(s.writes, []engine.MetaWrite{{Volume: id, Delta: delta}})
}

// Random adds a random transaction or compaction now and then, if there is such a
// volume. Its keys are few and its values small.
func (s *Source) Random(at *pinetree.Position, random *rand.Rand, id pinetree.VolumeID) {
	if _, ok := at.Volumes[id]; !ok || random.IntN(2) == 0 {
		return
	}
	table := s.Table(id)
	if random.IntN(12) == 0 {
		s.Compact(at, id, table.Compacted()+pinetree.MetaRevision(random.Uint64N(uint64(table.Revision()-table.Compacted())+1)))
		return
	}
	key := func() string { return fmt.Sprint("key", random.IntN(30)) }
	var x meta.Txn
	for range 1 + random.IntN(4) {
		op := Put(key(), fmt.Sprintf("%0*d", random.IntN(300), random.IntN(1000)))
		if random.IntN(4) == 0 {
			op = Delete(key(), key())
		}
		x.Then = append(x.Then, op)
	}
	if random.IntN(2) == 0 {
		x.ID = ID(random.Uint64())
	}
	s.Txn(at, id, x)
}

// Put sets a key.
func Put(key, value string) meta.Op {
	return meta.Op{Kind: meta.OpPut, Span: meta.Span{Key: []byte(key)}, Value: []byte(value)}
}

// Delete removes the keys of a range.
func Delete(key, end string) meta.Op {
	return meta.Op{Kind: meta.OpDelete, Span: meta.Span{Key: []byte(key), End: []byte(end)}}
}

// ID is that of a transaction, made of a number.
func ID(n uint64) []byte { return fmt.Appendf(nil, "%016x", n) }

// Merge is what two writes, one after the other, change together.
func Merge(first, second []engine.MetaWrite) []engine.MetaWrite {
	list := slices.Clone(first)
	for _, m := range second {
		at := slices.IndexFunc(list, func(o engine.MetaWrite) bool { return o.Volume == m.Volume })
		if at < 0 {
			list = append(list, m)
			continue
		}
		m.Records = append(slices.Clone(list[at].Records), m.Records...)
		list[at] = m
	}
	return list
}
