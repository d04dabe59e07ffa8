package badgerengine

import (
	"encoding/binary"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

// replay turns the batches of a write into badger's entries: each batch as it
// is, and in redo volumes the versions of pages and keys that its records
// make. It writes nothing.
func replay(g *group, old pinetree.Position, w engine.Write) ([]entry, error) {
	var entries []entry
	volumes := map[pinetree.VolumeID]*replayer{}
	for _, b := range w.Batches {
		keys := keysOf(g.id, b.Volume)
		var err error
		if entries, err = appendValue(entries, keys.batch(b.LSN), b.Encoded); err != nil {
			return nil, err
		}
		if w.Position.Volumes[b.Volume].Format != pinetree.FormatRedo {
			continue
		}
		r := volumes[b.Volume]
		if r == nil {
			r = newReplayer(&reader{group: g, id: b.Volume, keys: keys}, old.Volumes[b.Volume].LSN)
			volumes[b.Volume] = r
		}
		if entries, err = r.batch(entries, b); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// replayer makes the versions of one redo volume during one write.
type replayer struct {
	reader *reader
	from   pinetree.LSN // what badger holds of the volume ends here

	// pages are the page versions of this write, in order, and newest the
	// index of each page's last one.
	pages  []pageVersion
	newest map[pinetree.PageNo]int

	// The changes of the record at hand, folded per page and per key.
	lsn     pinetree.LSN
	touched []engine.Op // the last put or delete of each key, in order of first touch
	inPages map[pinetree.PageNo]int
	inKeys  map[string]int
	first   int // pages[first:] are of this record
}

// pageVersion is what one record does to a page: an image, or patches.
type pageVersion struct {
	page     pinetree.PageNo
	lsn      pinetree.LSN
	isImage  bool
	image    []byte
	patches  []engine.Op
	previous int // index of the page's version before, or -1
}

func newReplayer(r *reader, from pinetree.LSN) *replayer {
	return &replayer{
		reader: r, from: from, newest: map[pinetree.PageNo]int{},
		inPages: map[pinetree.PageNo]int{}, inKeys: map[string]int{},
	}
}

// batch appends the entries of all versions that a batch makes.
func (r *replayer) batch(entries []entry, b pinetree.Batch) ([]entry, error) {
	var err error
	r.lsn = b.Prev
	eachErr := engine.EachOp(b, func(lsn pinetree.LSN, op engine.Op) error {
		if lsn != r.lsn {
			if entries, err = r.endRecord(entries); err != nil {
				return err
			}
			r.lsn = lsn
		}
		r.fold(op)
		return nil
	})
	if eachErr != nil {
		return nil, eachErr
	}
	return r.endRecord(entries)
}

// fold adds a change to those of its record.
func (r *replayer) fold(op engine.Op) {
	if op.Kind == engine.KeyPut || op.Kind == engine.KeyDelete {
		if i, ok := r.inKeys[string(op.Key)]; ok {
			r.touched[i] = op
			return
		}
		r.inKeys[string(op.Key)] = len(r.touched)
		r.touched = append(r.touched, op)
		return
	}
	i, ok := r.inPages[op.Page]
	if !ok {
		i = len(r.pages)
		previous := -1
		if before, ok := r.newest[op.Page]; ok {
			previous = before
		}
		r.pages = append(r.pages, pageVersion{page: op.Page, lsn: r.lsn, previous: previous})
		r.inPages[op.Page], r.newest[op.Page] = i, i
	}
	v := &r.pages[i]
	switch {
	case op.Kind == engine.PageImage:
		v.isImage, v.image, v.patches = true, op.Data, nil
	default:
		v.patches = append(v.patches, op)
	}
}

// endRecord appends the entries of the record's versions.
func (r *replayer) endRecord(entries []entry) ([]entry, error) {
	var err error
	for i := r.first; i < len(r.pages); i++ {
		v := &r.pages[i]
		if !v.isImage && isConsolidated(v.page, v.lsn) {
			if err = r.consolidate(i); err != nil {
				return nil, err
			}
		}
		v.settle()
		stem := version(r.reader.keys.page(v.page), v.lsn)
		if entries, err = appendValue(entries, stem, v.encode()...); err != nil {
			return nil, err
		}
	}
	for _, op := range r.touched {
		kind, stem := []byte{presentVersion}, version(r.reader.keys.key(op.Key), r.lsn)
		if op.Kind == engine.KeyDelete {
			kind = []byte{absentVersion}
		}
		if entries, err = appendValue(entries, stem, kind, op.Data); err != nil {
			return nil, err
		}
	}
	r.first, r.touched = len(r.pages), r.touched[:0]
	clear(r.inPages)
	clear(r.inKeys)
	return entries, nil
}

// consolidate turns patches into the image that they lead to, from what this
// write did to the page before and from what badger holds.
func (r *replayer) consolidate(i int) error {
	chain := []int{}
	at := i
	for ; at >= 0 && !r.pages[at].isImage; at = r.pages[at].previous {
		chain = append(chain, at)
	}
	var image []byte
	if at >= 0 {
		image = append(image, r.pages[at].image...)
	} else {
		read, err := r.reader.page(r.pages[i].page, r.from)
		if err != nil && err != errNoValue {
			return err
		}
		image = read.Page
	}
	for k := len(chain) - 1; k >= 0; k-- {
		for _, op := range r.pages[chain[k]].patches {
			image = op.Patch(image)
		}
	}
	v := &r.pages[i]
	v.isImage, v.image, v.patches = true, image, nil
	return nil
}

// settle merges patches that follow an image in the same record into it.
func (v *pageVersion) settle() {
	if v.isImage && len(v.patches) > 0 {
		image := append([]byte(nil), v.image...) // the payload's memory stays as it is
		for _, op := range v.patches {
			image = op.Patch(image)
		}
		v.image, v.patches = image, nil
	}
}

// encode makes the stored form, as parts to be joined. See doc.go.
func (v *pageVersion) encode() [][]byte {
	if v.isImage {
		return [][]byte{{imageVersion}, v.image}
	}
	parts := make([][]byte, 0, 2*len(v.patches))
	for i, op := range v.patches {
		var head []byte
		if i == 0 {
			head = append(head, patchVersion)
		}
		head = binary.AppendUvarint(head, uint64(op.Offset))
		head = binary.AppendUvarint(head, uint64(len(op.Data)))
		parts = append(parts, head, op.Data)
	}
	return parts
}

// consolidateEvery is the mean number of versions of a page from one image to
// the next.
const consolidateEvery = 64

// isConsolidated chooses the versions that are written as images. It depends
// on nothing but page and LSN: it needs no look at the page's history, which
// would be a read per patch, and says the same on every replay and replica.
func isConsolidated(page pinetree.PageNo, lsn pinetree.LSN) bool {
	// The finalizer of SplitMix64, which spreads neighbouring inputs evenly.
	h := uint64(lsn) ^ uint64(page)*0x9E3779B97F4A7C15
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return (h^h>>31)%consolidateEvery == 0
}
