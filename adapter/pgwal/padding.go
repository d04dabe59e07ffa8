package pgwal

import (
	"fmt"

	"github.com/pinetree-db/pinetree"
)

// Padding returns how many zero bytes a log needs after its end to be whole
// segments again, as PostgreSQL leaves the end of the last one. Log is how the
// log begins, at least the 40 bytes of a segment's first page header.
// pinetree.ErrBadBatch when it does not begin with a segment.
func Padding(log []byte, end pinetree.LSN) (int64, error) {
	h, ok := parseHeader(log)
	if !ok || h.flags&flagLong == 0 || versions[h.magic] == "" || h.segmentBytes < minSegmentBytes {
		return 0, fmt.Errorf("%w: the log does not begin with a segment of PostgreSQL's WAL, so its segment size is unknown", pinetree.ErrBadBatch)
	}
	size := pinetree.LSN(h.segmentBytes)
	return int64((size - end%size) % size), nil
}
