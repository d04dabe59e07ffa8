package enginetest

import (
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/metatest"
	"github.com/pinetree-db/pinetree/engine/redotest"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// writer makes the writes of one group as the group itself would: batches that
// follow on each other and the position that they lead to.
type writer struct {
	t        testing.TB
	position pinetree.Position
	batches  []pinetree.Batch
	meta     metatest.Source
	small    storepb.Compressor
}

func newWriter(t testing.TB) *writer {
	return &writer{t: t, meta: metatest.NewSource(t), position: pinetree.Position{Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{}}}
}

// create adds an empty volume, whose log begins at base.
func (w *writer) create(id pinetree.VolumeID, format pinetree.Format, base pinetree.LSN) {
	w.position.Volumes[id] = pinetree.VolumePosition{
		LSN: base, Base: base, Format: format, Terms: []pinetree.TermStart{{Term: 1, Start: base}},
	}
}

// record is a record that is still to be given its Prev.
type record struct {
	lsn     pinetree.LSN
	payload []byte
}

// batch adds a batch of records to the write at hand.
func (w *writer) batch(id pinetree.VolumeID, records ...record) {
	w.t.Helper()
	v := w.position.Volumes[id]
	var list []pinetree.Record
	for _, r := range records {
		list = append(list, pinetree.Record{Prev: v.LSN, LSN: r.lsn, Payload: r.payload})
		v.LSN = r.lsn
	}
	b, err := storepb.EncodeBatch(id, v.Term(), list)
	if err != nil {
		w.t.Fatalf("encode: %v", err)
	}
	w.position.Volumes[id] = v
	w.batches = append(w.batches, w.small.Compress(b)) // if it has some length
}

// write ends the write at hand.
func (w *writer) write() engine.Write {
	w.position.Index++
	w.position.Term = 3
	done := engine.Write{Position: w.position.Clone(), Batches: w.batches, Meta: w.meta.Take()}
	w.batches = nil
	return done
}

// redo is a record of a redo volume.
func redo(lsn pinetree.LSN, ops ...*storepb.RedoOp) record {
	return record{lsn: lsn, payload: redotest.Payload(ops...)}
}

var image, put, del = redotest.Image, redotest.Put, redotest.Delete

// span is the place of a patch.
type span struct {
	page   uint64
	offset uint32
}

func patch(at span, data string) *storepb.RedoOp {
	return redotest.Patch(redotest.Place{Page: at.page, Offset: at.offset}, data)
}
