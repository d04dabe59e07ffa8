package lsm

import (
	"errors"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/drops"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
	"github.com/pinetree-db/pinetree/meta"
)

// metaWrites makes writes of one volume's metadata.
type metaWrites struct {
	t     *testing.T
	table *meta.Table
	index pinetree.RaftIndex
}

func (w *metaWrites) write(delta meta.Delta) engine.Write {
	w.t.Helper()
	next, _, err := w.table.Advance(delta)
	if err != nil {
		w.t.Fatal(err)
	}
	w.table = next
	w.index++
	at := pinetree.Position{Index: w.index, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: {
		Format: pinetree.FormatRedo, MetaRevision: next.Revision(), MetaCompacted: next.Compacted(), MetaBytes: next.Bytes(),
	}}}
	return engine.Write{Position: at, Meta: []engine.MetaWrite{{Volume: 1, Delta: delta}}}
}

func (w *metaWrites) put(key string) engine.Write {
	w.t.Helper()
	op := meta.Op{Kind: meta.OpPut, Span: meta.Span{Key: []byte(key)}, Value: make([]byte, layout.MaxChunkBytes+1)}
	delta, _, err := meta.Evaluate(w.table, meta.Proposal{Txn: meta.Txn{Then: []meta.Op{op}}})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.write(delta)
}

func (w *metaWrites) compact() engine.Write {
	w.t.Helper()
	return w.write(meta.Delta{Revision: w.table.Revision(), Compacted: w.table.Revision()})
}

func storedMeta(t *testing.T, s *Store, g *group) (n int) {
	t.Helper()
	err := s.db.Scan(metaPrefix(g.id, g.state.Load().generation), func(it sorted.Iterator) error {
		for it.Seek(nil); it.Valid(); it.Next() {
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func applyAll(t *testing.T, g *group, writes ...engine.Write) {
	t.Helper()
	for _, w := range writes {
		if err := g.Apply(w); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCompactedMetadataIsRemovedWithThePosition counts what is stored: before the
// position that knows of the compaction is stored, nothing may go.
func TestCompactedMetadataIsRemovedWithThePosition(t *testing.T) {
	onEach(t, func(t *testing.T, k kind) {
		const versions, chunks = 5, 2
		dir := t.TempDir()
		s := k.open(t, dir)
		g := openGroup(t, s)
		w := &metaWrites{t: t, table: meta.Empty()}
		for range versions {
			applyAll(t, g, w.put("key"))
		}
		flush(t, g)
		applyAll(t, g, w.compact())
		if n := storedMeta(t, s, g); n != versions*chunks {
			t.Fatalf("%d values are stored before the flush, want %d", n, versions*chunks)
		}
		flush(t, g)
		if n := storedMeta(t, s, g); n != chunks {
			t.Fatalf("%d values are stored after the flush, want those of one version, %d", n, chunks)
		}
		// What a crash leaves between is found when the group is opened.
		for range versions {
			applyAll(t, g, w.put("key"))
		}
		applyAll(t, g, w.compact())
		g.trash.Clear()
		flush(t, g)
		closeStore(t, s)
		s = k.open(t, dir)
		g = openGroup(t, s)
		applyAll(t, g, w.put("another"))
		flush(t, g)
		if n := storedMeta(t, s, g); n != 2*chunks {
			t.Fatalf("%d values are stored after a restart, want %d", n, 2*chunks)
		}
		closeStore(t, s)
	})
}

// TestAWriteThatFailedRemovesNothing: the compaction is not applied, a position
// before it is stored.
func TestAWriteThatFailedRemovesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, k kind) {
		dir := t.TempDir()
		s := k.open(t, dir)
		g := openGroup(t, s)
		w := &metaWrites{t: t, table: meta.Empty()}
		applyAll(t, g, w.put("key"), w.put("key"))
		before := w.table
		if _, err := g.Prepare(w.compact()); err != nil {
			t.Fatal(err)
		}
		flush(t, g)
		closeStore(t, s)
		s = k.open(t, dir)
		g = openGroup(t, s)
		table, err := g.Meta(1)
		if err != nil || table.Bytes() != before.Bytes() || table.Compacted() != 0 {
			t.Fatalf("%d bytes, compacted to %d, %v; want %d, 0", table.Bytes(), table.Compacted(), err, before.Bytes())
		}
		if _, err := table.Range(meta.RangeSpec{Span: meta.Span{Key: []byte("key")}, Revision: 1}); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
	})
}

// TestMetadataThatIsMissingIsSeen takes one value away beneath the engine.
func TestMetadataThatIsMissingIsSeen(t *testing.T) {
	onEach(t, func(t *testing.T, k kind) {
		dir := t.TempDir()
		s := k.open(t, dir)
		g := openGroup(t, s)
		w := &metaWrites{t: t, table: meta.Empty()}
		applyAll(t, g, w.put("a"), w.put("b"))
		flush(t, g)
		gone, err := drops.Deletions(s.db, metaPrefix(g.id, g.state.Load().generation))
		if err != nil || len(gone) != 4 {
			t.Fatalf("%d values, %v", len(gone), err)
		}
		if err := s.commitDurably(gone[:2]); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
		s = k.open(t, dir)
		if _, err := s.Open(g.id); !errors.Is(err, pinetree.ErrCorrupt) {
			t.Fatalf("open: %v, want ErrCorrupt", err)
		}
		closeStore(t, s)
	})
}
