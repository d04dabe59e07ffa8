package measure

import (
	"math/bits"
	"time"
)

// Each power of two of microseconds·8 is cut into this many buckets, so that a
// percentile is at most 1/64 too high.
const (
	subBits    = 6
	subBuckets = 1 << subBits
)

// A Histogram counts durations. It has a resolution of 1/64 from 8 ns on, up to
// hours, in 30 KiB. The zero value is empty and ready. It is not safe for
// concurrent use.
type Histogram struct {
	counts [(64 - subBits) * subBuckets]uint64
	total  uint64
}

// Add counts one duration; a negative one counts as zero.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(uint64(max(d, 0)))]++
	h.total++
}

// Count is the number of durations that were added.
func (h *Histogram) Count() uint64 { return h.total }

// Quantile returns a duration that the share q of all durations does not
// exceed, 0 when there are none. It is the upper end of a bucket, so at most
// 1/64 above the true one.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := max(uint64(q*float64(h.total)+0.5), 1)
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			return time.Duration(upper(i))
		}
	}
	return time.Duration(upper(len(h.counts) - 1))
}

// bucket is exact below 64, and keeps the six bits after the leading one above.
func bucket(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - subBits
	return (shift+1)<<subBits + int(v>>shift) - subBuckets
}

// upper is the largest value of a bucket.
func upper(i int) uint64 {
	if i < subBuckets {
		return uint64(i)
	}
	shift := i>>subBits - 1
	return uint64(i&(subBuckets-1)+subBuckets+1)<<shift - 1
}
