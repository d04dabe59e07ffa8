// Package entries makes the entries of a database that replay a write: each batch
// as it is, and in redo volumes what its records make of pages and keys. It reads
// what was there before, and writes nothing; metadata is not its business.
package entries

import (
	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/pages"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// Volume is what is there of a volume before a write.
type Volume struct {
	DB   sorted.Database
	Keys layout.VolumeKeys
	// At is the LSN up to which values count.
	At pinetree.LSN
	// Page is a page as of At; nil when there is none.
	Page func(pinetree.PageNo) ([]byte, error)
	// Clean are the pages of which nothing is above At that a crash has left.
	Clean *pages.Set
}

// Made is what a write makes.
type Made struct {
	Entries []sorted.Entry
	// Pages are what it changes, by redo volume.
	Pages map[pinetree.VolumeID]*pages.Write
}

// Of replays the batches of a write. What is there before it is asked of volume,
// at most once for each one.
func Of(w engine.Write, volume func(pinetree.VolumeID) Volume) (Made, error) {
	m := Made{Pages: map[pinetree.VolumeID]*pages.Write{}}
	volumes := map[pinetree.VolumeID]*replayer{}
	var order []*replayer
	for _, b := range w.Batches {
		r := volumes[b.Volume]
		if r == nil {
			r = newReplayer(volume(b.Volume))
			volumes[b.Volume] = r
			if w.Position.Volumes[b.Volume].Format == pinetree.FormatRedo {
				order = append(order, r)
				m.Pages[b.Volume] = r.pages
			}
		}
		var err error
		if m.Entries, err = layout.AppendValue(m.Entries, r.before.Keys.Batch(b.LSN), b.Encoded); err != nil {
			return Made{}, err
		}
		if m.Pages[b.Volume] == nil {
			continue
		}
		if m.Entries, err = r.batch(m.Entries, b); err != nil {
			return Made{}, err
		}
	}
	for _, r := range order {
		var err error
		if m.Entries, err = r.end(m.Entries); err != nil {
			return Made{}, err
		}
	}
	return m, nil
}

// replayer replays the batches of one redo volume during one write.
type replayer struct {
	before Volume
	lsn    pinetree.LSN // of the record at hand
	pages  *pages.Write

	puts []engine.Op    // the last put or delete of each key in the record at hand
	keys map[string]int // where in puts a key is
}

func newReplayer(before Volume) *replayer {
	return &replayer{before: before, pages: pages.NewWrite(before.Page), keys: map[string]int{}}
}

// batch appends the versions of keys that a batch makes, and notes what it does
// to pages.
func (r *replayer) batch(entries []sorted.Entry, b pinetree.Batch) ([]sorted.Entry, error) {
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
func (r *replayer) end(entries []sorted.Entry) ([]sorted.Entry, error) {
	left, err := r.leftovers()
	if err != nil {
		return nil, err
	}
	values, err := r.pages.End()
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		stem := layout.Version(r.before.Keys.Page(v.Page), v.First)
		from := len(entries)
		if entries, err = layout.AppendBuilt(entries, stem, v.Buf); err != nil {
			return nil, err
		}
		if len(left) == 0 {
			continue
		}
		for _, e := range entries[from:] {
			delete(left, string(e.Key)) // it is written over
		}
	}
	for key := range left {
		entries = append(entries, sorted.Entry{Key: []byte(key), Remove: true})
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
func (r *replayer) endRecord(entries []sorted.Entry) ([]sorted.Entry, error) {
	if len(r.puts) == 0 {
		return entries, nil
	}
	for _, op := range r.puts {
		kind := byte(layout.PresentVersion)
		if op.Kind == engine.KeyDelete {
			kind = layout.AbsentVersion
		}
		var err error
		stem := layout.Version(r.before.Keys.Key(op.Key), r.lsn)
		if entries, err = layout.AppendValue(entries, stem, []byte{kind}, op.Data); err != nil {
			return nil, err
		}
	}
	r.puts = r.puts[:0]
	clear(r.keys)
	return entries, nil
}
