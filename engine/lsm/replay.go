package lsm

import (
	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/pages"
)

// replay turns the batches of a write into entries: each batch as it
// is, and in redo volumes what its records make of pages and keys. It writes
// nothing.
func replay(g *group, old *state, w engine.Write) ([]entry, error) {
	var entries []entry
	volumes := map[pinetree.VolumeID]*replayer{}
	var order []*replayer
	for _, b := range w.Batches {
		keys := layout.KeysOf(g.id, old.generation, b.Volume)
		var err error
		if entries, err = layout.AppendValue(entries, keys.Batch(b.LSN), b.Encoded); err != nil {
			return nil, err
		}
		if w.Position.Volumes[b.Volume].Format != pinetree.FormatRedo {
			continue
		}
		r := volumes[b.Volume]
		if r == nil {
			r = newReplayer(view{store: g.store, keys: keys, at: old.position.Volumes[b.Volume].LSN}, g.cleanPages(b.Volume))
			volumes[b.Volume] = r
			order = append(order, r)
		}
		if entries, err = r.batch(entries, b); err != nil {
			return nil, err
		}
	}
	for _, r := range order {
		var err error
		if entries, err = r.end(entries); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// replayer replays the batches of one redo volume during one write.
type replayer struct {
	before view         // what is there of the volume
	lsn    pinetree.LSN // of the record at hand

	pages *pages.Write
	clean *pages.Set

	puts []engine.Op    // the last put or delete of each key in the record at hand
	keys map[string]int // where in puts a key is
}

func newReplayer(before view, clean *pages.Set) *replayer {
	r := &replayer{before: before, clean: clean, keys: map[string]int{}}
	r.pages = pages.NewWrite(func(page pinetree.PageNo) ([]byte, error) {
		read, err := r.before.page(page)
		if err == errNoValue {
			err = nil
		}
		return read.Page, err
	})
	return r
}

// batch appends the versions of keys that a batch makes, and notes what it does
// to pages.
func (r *replayer) batch(entries []entry, b pinetree.Batch) ([]entry, error) {
	r.lsn = b.Prev
	err := engine.EachOp(b, func(lsn pinetree.LSN, op engine.Op) (err error) {
		if lsn != r.lsn {
			if entries, err = r.endRecord(entries); err != nil {
				return err
			}
			r.lsn = lsn
		}
		if op.Kind == engine.PageImage || op.Kind == engine.PagePatch {
			return r.pages.Change(r.lsn, op)
		}
		r.onKey(op)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r.endRecord(entries)
}

// end appends what the write does to pages, and the removal of what a crash has
// left.
func (r *replayer) end(entries []entry) ([]entry, error) {
	left, err := r.leftovers()
	if err != nil {
		return nil, err
	}
	values, err := r.pages.End()
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		stem := layout.Version(r.before.keys.Page(v.Page), v.First)
		from := len(entries)
		if entries, err = layout.AppendBuilt(entries, stem, v.Buf); err != nil {
			return nil, err
		}
		for _, e := range entries[from:] {
			delete(left, string(e.Key)) // it is written over
		}
	}
	for key := range left {
		entries = append(entries, entry{Key: []byte(key), Remove: true})
	}
	return entries, nil
}

// onKey notes a put or a delete; the last one of a record counts.
func (r *replayer) onKey(op engine.Op) {
	i, ok := r.keys[string(op.Key)]
	if !ok {
		i = len(r.puts)
		r.puts = append(r.puts, op)
		r.keys[string(op.Key)] = i
	}
	r.puts[i] = op
}

// endRecord appends the versions of keys that the record at hand makes.
func (r *replayer) endRecord(entries []entry) ([]entry, error) {
	if len(r.puts) == 0 {
		return entries, nil
	}
	for _, op := range r.puts {
		kind := byte(presentVersion)
		if op.Kind == engine.KeyDelete {
			kind = absentVersion
		}
		var err error
		stem := layout.Version(r.before.keys.Key(op.Key), r.lsn)
		if entries, err = layout.AppendValue(entries, stem, []byte{kind}, op.Data); err != nil {
			return nil, err
		}
	}
	r.puts = r.puts[:0]
	clear(r.keys)
	return entries, nil
}
