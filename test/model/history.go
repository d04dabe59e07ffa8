package model

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// scale is how large a volume is and how much happens to it.
type scale struct {
	ops, pages, keys int
	// About how often each happens.
	flushes, restarts, moves, truncations int
}

// opsPerWrite is their mean.
const opsPerWrite = 41

// chance is true about so often in the course of a history.
func (h *history) chance(times int) bool { return h.random.IntN(h.ops/opsPerWrite) < times }

// volume is the one that everything is about.
const volume = pinetree.VolumeID(7)

// pageBytes is where most patches end. Some images are smaller.
const pageBytes = 4096

// history makes the writes of a group, whose changes it also gives to a model.
type history struct {
	scale
	random   *rand.Rand
	model    *state
	position pinetree.Position
	made     int // operations
	small    storepb.Compressor
}

func newHistory(s scale, seed uint64) *history {
	first := pinetree.VolumePosition{
		LSN: 1000, Base: 1000, Format: pinetree.FormatRedo, Terms: []pinetree.TermStart{{Term: 1, Start: 1000}},
	}
	return &history{
		scale: s, random: rand.New(rand.NewPCG(seed, 1)), model: newState(),
		position: pinetree.Position{Term: 2, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{volume: first}},
	}
}

// next makes the next write: some batches of some records.
func (h *history) next() (engine.Write, error) {
	w := engine.Write{}
	v := h.position.Volumes[volume]
	for range 1 + h.random.IntN(5) {
		var records []pinetree.Record
		for range 1 + h.random.IntN(10) {
			r := pinetree.Record{Prev: v.LSN, LSN: v.LSN + pinetree.LSN(1+h.random.IntN(50))}
			redo := &storepb.Redo{}
			for range 1 + h.random.IntN(4) {
				redo.Ops = append(redo.Ops, h.op())
			}
			var err error
			if r.Payload, err = proto.Marshal(redo); err != nil {
				return w, err
			}
			records = append(records, r)
			h.model.record(r.LSN, redo)
			v.LSN = r.LSN
			h.made += len(redo.Ops)
		}
		b, err := storepb.EncodeBatch(volume, 1, records)
		if err != nil {
			return w, err
		}
		b = h.small.Compress(b)
		w.Batches = append(w.Batches, b)
		h.model.log = append(h.model.log, entry{b.Prev, b.LSN, b.Encoded})
	}
	h.position.Index++
	h.position.Volumes[volume] = v
	w.Position = h.position.Clone()
	return w, nil
}

// op is a change of a page, half of which are of one page in a hundred, or of a
// key.
func (h *history) op() *storepb.RedoOp {
	switch n := h.random.IntN(100); {
	case n < 4:
		return &storepb.RedoOp{Op: &storepb.RedoOp_PageImage{PageImage: &storepb.PageImage{Page: h.page(), Image: h.bytes(pageBytes)}}}
	case n < 72:
		data := h.bytes(200)
		return &storepb.RedoOp{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{Page: h.page(), Offset: uint32(h.random.IntN(pageBytes - len(data))), Bytes: data}}}
	case n < 92:
		return &storepb.RedoOp{Op: &storepb.RedoOp_KeyPut{KeyPut: &storepb.KeyPut{Key: []byte(h.key()), Value: h.bytes(150)}}}
	default:
		return &storepb.RedoOp{Op: &storepb.RedoOp_KeyDelete{KeyDelete: &storepb.KeyDelete{Key: []byte(h.key())}}}
	}
}

func (h *history) page() uint64 {
	if h.random.IntN(2) == 0 {
		return h.random.Uint64N(uint64(h.pages/100 + 1))
	}
	return h.random.Uint64N(uint64(h.pages))
}

// key is a name, some of which are the beginning of others or have zeroes.
func (h *history) key() string {
	n := h.random.IntN(h.keys)
	name := fmt.Sprintf("key/%d/%d", n%10, n/10)
	if n%7 == 0 {
		name += "\x00\xFF" + string(rune('a'+n%3))
	}
	return name
}

func (h *history) bytes(most int) []byte {
	data := make([]byte, h.random.IntN(most+1))
	for i := 0; i < len(data); i += 8 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], h.random.Uint64())
		copy(data[i:], word[:])
	}
	return data
}

// truncate raises the truncated LSN with the next write, by some of what there
// is, mostly not to the end of a record.
func (h *history) truncate() {
	v := h.position.Volumes[volume]
	first := v.First()
	v.Truncated = first + pinetree.LSN(h.random.Int64N(int64(v.LSN-first)/2+1))
	h.position.Volumes[volume] = v
}

// merge makes one write of several that follow on each other.
func merge(writes []engine.Write) engine.Write {
	one := writes[0]
	for _, w := range writes[1:] {
		one.Position = w.Position
		one.Batches = append(one.Batches[:len(one.Batches):len(one.Batches)], w.Batches...)
	}
	return one
}
