package meta

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/pinetree-db/pinetree"
)

// Digest sums up the state at a revision, the newest when it is zero: SHA-256 over
// each key in order, with its value, revisions and version. Two replicas that hold
// the revision have equal ones, whatever is compacted. Errors are those of
// Readable.
func (t *Table) Digest(at pinetree.MetaRevision) (sum [sha256.Size]byte, err error) {
	if at, err = t.Readable(at); err != nil {
		return sum, err
	}
	h := sha256.New()
	buf := binary.LittleEndian.AppendUint64(nil, uint64(at))
	t.each(Span{End: []byte{0}}, at, func(c *Change) bool {
		for _, n := range []uint64{uint64(len(c.Key)), uint64(len(c.Value)), uint64(c.Created), uint64(c.Modified), c.Version} {
			buf = binary.LittleEndian.AppendUint64(buf, n)
		}
		h.Write(append(buf, c.Key...))
		h.Write(c.Value)
		buf = buf[:0]
		return true
	})
	h.Write(buf)
	h.Sum(sum[:0])
	return sum, nil
}
