package memengine

import (
	"cmp"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// drop lets go of what no read needs any more: after a crash the truncated LSNs
// are those that were flushed, so no more than that.
func (g *group) drop() {
	for id, v := range g.volumes {
		if _, there := g.flushed.Volumes[id]; !there { // what is flushed is all there is
			delete(g.volumes, id)
			continue
		}
		if at := g.flushed.Volumes[id].Truncated; at > v.dropped {
			v.drop(at)
		}
	}
}

// drop lets go of what no read at or above an LSN needs.
func (v *volume) drop(to pinetree.LSN) {
	v.dropped = max(v.dropped, to)
	v.log = slices.Clone(v.log[batchesUpTo(v.log, to):])
	for page, changes := range v.pages {
		base := len(visible(changes, to)) - 1
		for base > 0 && changes[base].op.Kind != engine.PageImage {
			base--
		}
		v.pages[page] = slices.Clone(changes[max(base, 0):])
	}
	v.names = slices.DeleteFunc(slices.Clone(v.names), func(name string) bool {
		changes := v.keys[name]
		n := len(visible(changes, to))
		if n > 0 && changes[n-1].op.Kind != engine.KeyDelete {
			n--
		}
		v.keys[name] = slices.Clone(changes[n:])
		if n == len(changes) {
			delete(v.keys, name)
		}
		return n == len(changes)
	})
}

// batchesUpTo is how many batches are at or below an LSN.
func batchesUpTo(log []pinetree.Batch, lsn pinetree.LSN) int {
	n, _ := slices.BinarySearchFunc(log, lsn, func(b pinetree.Batch, lsn pinetree.LSN) int {
		if b.LSN <= lsn {
			return -1
		}
		return 1
	})
	return n
}

// beginning is batches from the base of a log to the first batch that is there,
// with the changes that reads still need of what was dropped.
func (v *volume) beginning(id pinetree.VolumeID, at pinetree.VolumePosition) (batches []pinetree.Batch, err error) {
	start := at.LSN
	if len(v.log) > 0 {
		start = v.log[0].Prev
	}
	tail := at.Base
	add := func(lsn pinetree.LSN, ops []*storepb.RedoOp) error {
		payload, err := proto.Marshal(&storepb.Redo{Ops: ops})
		if err != nil {
			return err
		}
		b, err := storepb.EncodeBatch(id, at.Term(), []pinetree.Record{{Prev: tail, LSN: lsn, Payload: payload}})
		tail, batches = lsn, append(batches, b)
		return err
	}
	for changes := v.upToStart(start); len(changes) > 0; {
		lsn, n := changes[0].lsn, 0
		var ops []*storepb.RedoOp
		for ; n < len(changes) && changes[n].lsn == lsn; n++ {
			ops = append(ops, message(changes[n].op))
		}
		if err := add(lsn, ops); err != nil {
			return nil, err
		}
		changes = changes[n:]
	}
	if tail < start {
		err = add(start, nil)
	}
	return batches, err
}

// upToStart lists the changes at or below an LSN, in its order; those of a page or
// a key in one record keep theirs.
func (v *volume) upToStart(start pinetree.LSN) []change {
	var changes []change
	for _, page := range slices.Sorted(maps.Keys(v.pages)) {
		changes = append(changes, visible(v.pages[page], start)...)
	}
	for _, name := range v.names {
		changes = append(changes, visible(v.keys[name], start)...)
	}
	slices.SortStableFunc(changes, func(a, b change) int { return cmp.Compare(a.lsn, b.lsn) })
	return changes
}

// message is an op as it is written.
func message(op engine.Op) *storepb.RedoOp {
	switch op.Kind {
	case engine.PageImage:
		return &storepb.RedoOp{Op: &storepb.RedoOp_PageImage{PageImage: &storepb.PageImage{Page: uint64(op.Page), Image: op.Data}}}
	case engine.PagePatch:
		return &storepb.RedoOp{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{Page: uint64(op.Page), Offset: uint32(op.Offset), Bytes: op.Data}}}
	case engine.KeyPut:
		return &storepb.RedoOp{Op: &storepb.RedoOp_KeyPut{KeyPut: &storepb.KeyPut{Key: op.Key, Value: op.Data}}}
	default:
		return &storepb.RedoOp{Op: &storepb.RedoOp_KeyDelete{KeyDelete: &storepb.KeyDelete{Key: op.Key}}}
	}
}
