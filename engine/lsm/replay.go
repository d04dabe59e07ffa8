package lsm

import (
	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
)

// replay turns the batches of a write into entries: each batch as it
// is, and in redo volumes what its records make of pages and keys. It writes
// nothing.
func replay(g *group, old *state, w engine.Write) ([]entry, error) {
	var entries []entry
	volumes := map[pinetree.VolumeID]*replayer{}
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
			r = &replayer{
				before: view{store: g.store, keys: keys, at: old.position.Volumes[b.Volume].LSN},
				pages:  map[pinetree.PageNo]*pageHistory{}, keys: map[string]int{},
			}
			volumes[b.Volume] = r
		}
		if entries, err = r.batch(entries, b); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// replayer replays the batches of one redo volume during one write.
type replayer struct {
	before view         // what is there of the volume
	lsn    pinetree.LSN // of the record at hand

	pages   map[pinetree.PageNo]*pageHistory
	touched []*pageHistory // by the batch at hand, in order

	puts []engine.Op    // the last put or delete of each key in the record at hand
	keys map[string]int // where in puts a key is
}

// pageHistory is what one write did to a page so far.
type pageHistory struct {
	page    pinetree.PageNo
	changes []layout.Change
	batch   int // changes[batch:] are of the batch at hand
	record  int // changes[record:] are of the last record
}

// batch appends what a batch makes: one value per page with all its changes,
// and one per version of a key.
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
			return r.onPage(op)
		}
		r.onKey(op)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if entries, err = r.endRecord(entries); err != nil {
		return nil, err
	}
	for _, h := range r.touched {
		if err := r.consolidate(h); err != nil {
			return nil, err
		}
		changes := h.changes[h.batch:]
		stem := layout.Version(r.before.keys.Page(h.page), changes[0].LSN)
		if entries, err = layout.AppendValue(entries, stem, layout.EncodePage(changes)...); err != nil {
			return nil, err
		}
		h.batch = len(h.changes)
	}
	r.touched = r.touched[:0]
	return entries, nil
}

// onPage adds a change to its page's history.
func (r *replayer) onPage(op engine.Op) error {
	h := r.pages[op.Page]
	if h == nil {
		h = &pageHistory{page: op.Page}
		r.pages[op.Page] = h
	}
	if h.batch == len(h.changes) {
		r.touched = append(r.touched, h)
	}
	if last := len(h.changes) - 1; last < 0 || h.changes[last].LSN != r.lsn {
		if err := r.consolidate(h); err != nil {
			return err
		}
		h.record = len(h.changes)
	}
	if op.Kind == engine.PageImage {
		h.changes = h.changes[:h.record] // what the record did before is gone
	}
	h.changes = append(h.changes, layout.Change{LSN: r.lsn, Op: op})
	return nil
}

// consolidate turns the last record's patches into the image that they lead
// to, if the record is one of those chosen for it.
func (r *replayer) consolidate(h *pageHistory) error {
	patches := h.changes[h.record:]
	if len(patches) == 0 || patches[0].Op.Kind == engine.PageImage || !layout.IsConsolidated(h.page, patches[0].LSN, layout.SizeOf(patches)) {
		return nil
	}
	first := h.record - 1
	for first >= 0 && h.changes[first].Op.Kind != engine.PageImage {
		first--
	}
	var image []byte
	if first < 0 {
		read, err := r.before.page(h.page)
		if err != nil && err != errNoValue {
			return err
		}
		image = read.Page
	}
	image = layout.ReplayPage(image, h.changes[max(first, 0):])
	whole := layout.Change{LSN: patches[0].LSN, Op: engine.Op{Kind: engine.PageImage, Page: h.page, Data: image}}
	h.changes = append(h.changes[:h.record], whole)
	return nil
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
