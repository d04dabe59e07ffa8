package layout

import (
	"encoding/binary"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

// Change is one op on a page and the LSN of its record.
type Change struct {
	LSN pinetree.LSN
	Op  engine.Op // PageImage or PagePatch
}

// MaxChangeHead is the most that a change takes besides its bytes.
const MaxChangeHead = 3*binary.MaxVarintLen32 + binary.MaxVarintLen64 + 1

// AppendChange appends a change to the stored form of those that one write makes
// to a page, in order; per change
//
//	uvarint(LSN − LSN of the change before; the first one's is in the key)
//	1, uvarint(length), image; or 2, uvarint(offset), uvarint(length), bytes
func AppendChange(buf []byte, step uint64, op engine.Op) []byte {
	buf = append(binary.AppendUvarint(buf, step), byte(op.Kind))
	if op.Kind == engine.PagePatch {
		buf = binary.AppendUvarint(buf, uint64(op.Offset))
	}
	return append(binary.AppendUvarint(buf, uint64(len(op.Data))), op.Data...)
}

// EncodePage is the stored form of changes.
func EncodePage(changes []Change) (buf []byte) {
	for i, c := range changes {
		buf = AppendChange(buf, uint64(c.LSN-changes[max(0, i-1)].LSN), c.Op)
	}
	return buf
}

// DecodePage reads the changes of a value up to an LSN, from the last image
// among them on, if there is one. They share the value's memory.
func DecodePage(value []byte, first, at pinetree.LSN) (changes []Change, hasImage bool, err error) {
	lsn := first
	for len(value) > 0 {
		step, n := binary.Uvarint(value)
		if n <= 0 || n >= len(value) {
			return nil, false, errPageValue
		}
		c := Change{LSN: lsn + pinetree.LSN(step), Op: engine.Op{Kind: engine.OpKind(value[n])}}
		value = value[n+1:]
		switch c.Op.Kind {
		case engine.PageImage:
		case engine.PagePatch:
			offset, n := binary.Uvarint(value)
			if n <= 0 || offset > engine.MaxPageBytes {
				return nil, false, errPageValue
			}
			c.Op.Offset, value = int(offset), value[n:]
		default:
			return nil, false, errPageValue
		}
		size, n := binary.Uvarint(value)
		if n <= 0 || size > uint64(len(value)-n) {
			return nil, false, errPageValue
		}
		c.Op.Data, value = value[n:n+int(size)], value[n+int(size):]
		if c.LSN > at {
			return changes, hasImage, nil
		}
		if lsn = c.LSN; c.Op.Kind == engine.PageImage {
			changes, hasImage = changes[:0], true
		}
		changes = append(changes, c)
	}
	return changes, hasImage, nil
}

var errPageValue = fmt.Errorf("%w: the changes of a page do not decode", pinetree.ErrCorrupt)

// ReplayPage is the page after changes. It may reuse the page's memory, but
// never an op's.
func ReplayPage(page []byte, changes []Change) []byte {
	for _, c := range changes {
		if c.Op.Kind == engine.PageImage {
			page = append(page[:0], c.Op.Data...)
		} else {
			page = c.Op.Patch(page)
		}
	}
	return page
}

const (
	// ConsolidateEvery is the mean number of records of a page from one image to
	// the next while their patches are small.
	ConsolidateEvery = 64
	// consolidateBytes is the mean number of bytes of patches from one image to
	// the next while they are not: images of 8 KiB are then half of what they
	// add to.
	consolidateBytes = 16 << 10
)

// IsConsolidated chooses the records whose change of a page is kept as the
// whole image that it leads to: one of 64, and more of those that change much.
// It depends on nothing but the page, the LSN and the size of the change: it
// needs no look at the page's history, which would be a read per patch, and
// says the same on every replay and replica. Chains that became long by chance
// are shortened when they are read, see shortening.
func IsConsolidated(page pinetree.PageNo, lsn pinetree.LSN, bytes int) bool {
	// The finalizer of SplitMix64, which spreads neighbouring inputs evenly.
	h := uint64(lsn) ^ uint64(page)*0x9E3779B97F4A7C15
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return (h^h>>31)%consolidateBytes < uint64(max(bytes, consolidateBytes/ConsolidateEvery))
}
