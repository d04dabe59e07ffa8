package enginetest

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// workload is a group's history made of a seed: the same seed makes the same
// writes, in this process or another.
type workload struct {
	*writer
	random     *rand.Rand
	opaqueOnly bool
	keeps      bool // nothing is truncated
}

// maxPageBytes and the small numbers of pages and keys below make changes meet
// each other.
const (
	workloadPages  = 12
	workloadKeys   = 40
	workloadVolume = 3 // volumes that a workload may have
)

func newWorkload(t testing.TB, seed uint64) *workload {
	return &workload{writer: newWriter(t), random: rand.New(rand.NewPCG(seed, 1))}
}

// workload is newWorkload of volumes that the backend takes.
func (b Backend) workload(t testing.TB, seed uint64) *workload {
	w := newWorkload(t, seed)
	w.opaqueOnly = b.OpaqueOnly
	return w
}

// next makes the next write: up to four batches of any volumes, sometimes a
// fence, sometimes a new volume, sometimes nothing but a higher index. Now and then
// a volume is truncated.
func (w *workload) next() engine.Write {
	for range w.random.IntN(5) {
		id := pinetree.VolumeID(1 + w.random.IntN(workloadVolume))
		if _, ok := w.position.Volumes[id]; !ok {
			format := pinetree.FormatRedo
			if id == 1 || w.opaqueOnly {
				format = pinetree.FormatOpaque
			}
			w.create(id, format, pinetree.LSN(w.random.IntN(3)*1000))
		}
		v := w.position.Volumes[id]
		if w.random.IntN(10) == 0 {
			v.Terms = append(slices.Clone(v.Terms), pinetree.TermStart{Term: v.Term() + 1, Start: v.LSN})
			w.position.Volumes[id] = v
		}
		var records []record
		lsn := v.LSN
		for range 1 + w.random.IntN(12) {
			lsn += pinetree.LSN(1 + w.random.IntN(50))
			if v.Format == pinetree.FormatOpaque {
				records = append(records, record{lsn, w.bytes(200)})
				continue
			}
			var ops []*storepb.RedoOp
			for range w.random.IntN(5) {
				ops = append(ops, w.op())
			}
			records = append(records, redo(lsn, ops...))
		}
		w.batch(id, records...)
		if w.random.IntN(24) == 0 && !w.keeps {
			w.truncate(id)
		}
	}
	w.meta.Random(&w.position, w.random, pinetree.VolumeID(1+w.random.IntN(workloadVolume)))
	return w.write()
}

// truncate gives up a part of a volume's log and old versions: any of it, most
// often not at the end of a record.
func (w *workload) truncate(id pinetree.VolumeID) {
	v := w.position.Volumes[id]
	v.Truncated = v.First() + pinetree.LSN(w.random.Int64N(int64(v.LSN-v.First())+1))
	w.position.Volumes[id] = v
}

func (w *workload) op() *storepb.RedoOp {
	page := w.random.Uint64N(workloadPages)
	switch n := w.random.IntN(20); {
	case n == 0:
		return image(page, string(w.bytes(600)))
	case n < 12:
		return patch(span{page, uint32(w.random.IntN(500))}, string(w.bytes(60)))
	case n < 17:
		return put(w.key(), string(w.bytes(100)))
	default:
		return del(w.key())
	}
}

// key is one of few keys, some of them a prefix of others and with zero bytes.
func (w *workload) key() string {
	n := w.random.IntN(workloadKeys)
	return string([]byte{'k', byte(n % 3), byte(n % 5)}[:1+n%3]) + string(rune('a'+n/8))
}

func (w *workload) bytes(most int) []byte { return w.fill(w.random.IntN(most + 1)) }

func (w *workload) fill(size int) []byte {
	data := make([]byte, size)
	for i := 0; i < len(data); i += 8 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], w.random.Uint64())
		copy(data[i:], word[:])
	}
	return data
}
