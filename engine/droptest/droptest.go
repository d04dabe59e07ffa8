// Package droptest is the part of the engines' conformance suite that is about volumes
// which a group has no more.
package droptest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/metatest"
	"github.com/pinetree-db/pinetree/engine/redotest"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

const kept, gone pinetree.VolumeID = 5, 6

// group makes the writes of a group with two volumes.
type group struct {
	t        *testing.T
	engine   engine.Engine
	position pinetree.Position
	meta     metatest.Source
}

// write writes one more record, and one more revision of metadata, of each of these
// volumes.
func (g *group) write(ids ...pinetree.VolumeID) {
	g.t.Helper()
	var batches []pinetree.Batch
	for _, id := range ids {
		at := g.position.Volumes[id]
		text := fmt.Sprint(at.LSN + 1)
		payload := redotest.Payload(redotest.Image(7, text), redotest.Put("key", text))
		b, err := storepb.EncodeBatch(id, 1, []pinetree.Record{{Prev: at.LSN, LSN: at.LSN + 1, Payload: payload}})
		must(g.t, err)
		at.LSN++
		g.position.Volumes[id] = at
		batches = append(batches, b)
		g.meta.Txn(&g.position, id, meta.Txn{Then: []meta.Op{metatest.Put("m", text)}})
	}
	g.position.Index++
	must(g.t, g.engine.Apply(engine.Write{Position: g.position.Clone(), Batches: batches, Meta: g.meta.Take()}))
}

func (g *group) flush() {
	g.t.Helper()
	_, err := g.engine.Flush()
	must(g.t, err)
}

// Run checks a backend: a volume that is dropped is gone with all that it had, also
// after a restart and for a replica that gets the state, and the others go on. Open
// opens the store of a directory, which may keep nothing but opaque volumes.
func Run(t *testing.T, opaque bool, open func(dir string) (engine.Store, error)) {
	format := pinetree.FormatRedo
	if opaque {
		format = pinetree.FormatOpaque
	}
	dir := t.TempDir()
	store, err := open(dir)
	must(t, err)
	defer func() { must(t, store.Close()) }()
	must(t, store.Create(1, pinetree.Position{}))
	terms := []pinetree.TermStart{{Term: 1}}
	g := &group{t: t, meta: metatest.NewSource(t), position: pinetree.Position{Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{
		kept: {Format: format, Terms: terms}, gone: {Format: format, Terms: terms},
	}}}
	g.engine, err = store.Open(1)
	must(t, err)
	for range 20 {
		g.write(kept, gone)
	}
	g.flush()
	before, err := store.Snapshot(1)
	must(t, err)
	delete(g.position.Volumes, gone)
	g.write(kept)
	check(t, g.engine, 21)
	g.flush()
	check(t, g.engine, 21)
	must(t, before.Chunks(func([]byte) error { return nil }))
	if _, there := before.Position().Volumes[gone]; !there {
		t.Error("the snapshot from before has the volume no more")
	}
	must(t, before.Close())

	must(t, store.Close())
	store, err = open(dir)
	must(t, err)
	g.engine, err = store.Open(1)
	must(t, err)
	check(t, g.engine, 21)
	g.write(kept)
	g.flush()
	restore(t, store, open)
}

// restore gives the state to another store.
func restore(t *testing.T, store engine.Store, open func(dir string) (engine.Store, error)) {
	t.Helper()
	other, err := open(t.TempDir())
	must(t, err)
	defer func() { must(t, other.Close()) }()
	s, err := store.Snapshot(1)
	must(t, err)
	defer func() { must(t, s.Close()) }()
	r, err := other.Restore(1, s.Position())
	must(t, err)
	must(t, s.Chunks(r.Write))
	must(t, r.Commit())
	must(t, r.Close())
	e, err := other.Open(1)
	must(t, err)
	check(t, e, 22)
}

// check wants nothing of the one volume, and the other one up to an LSN.
func check(t *testing.T, e engine.Engine, lsn pinetree.LSN) {
	t.Helper()
	if _, err := e.Volume(gone); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Errorf("the volume that was dropped: %v", err)
	}
	if _, err := e.Meta(gone); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Errorf("the metadata of the volume that was dropped: %v", err)
	}
	r, err := e.Volume(kept)
	must(t, err)
	var last pinetree.LSN
	must(t, r.Log(0, func(b pinetree.Batch) error {
		if b.Volume != kept || b.Prev != last {
			return fmt.Errorf("batch (%s, %s] of volume %d after %s", b.Prev, b.LSN, b.Volume, last)
		}
		last = b.LSN
		return nil
	}))
	if at := e.Position().Volumes[kept].LSN; last != lsn || at != lsn {
		t.Errorf("the log of the other volume ends at %s, its position is %s; want %s", last, at, lsn)
	}
	table, err := e.Meta(kept)
	must(t, err)
	if table.Revision() != pinetree.MetaRevision(lsn) {
		t.Errorf("the metadata of the other volume is at revision %d", table.Revision())
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
