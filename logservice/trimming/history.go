package trimming

import (
	"math/bits"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
)

// maxSamples bounds a History.
const maxSamples = 256

// History is what a replica remembers of how a volume's log grew: when it ended
// where, and how many bytes it had then. Beyond its bound the samples that tell
// least go, so that about every hundredth of the time and of the bytes is known.
// What is not remembered, for it was before the replica started, counts as young,
// and its bytes as spread evenly over its LSNs. The zero History remembers
// nothing. It belongs to one goroutine.
//
// Invariants:
//
//	times, LSNs and bytes of the samples rise
//	all of them are above what was truncated at the last Look
type History struct {
	samples []sample
}

type sample struct {
	at time.Duration
	point
}

// point is a place in a volume's log, and the bytes of all batches up to there
// since the volume was made.
type point struct {
	lsn   pinetree.LSN
	bytes int64
}

// Look takes note of where a volume is, at a time that is not before that of the
// last call. Times are counted from any one moment.
func (h *History) Look(now time.Duration, v pinetree.VolumePosition) {
	end := point{v.LSN, v.LogBytes}
	if n := len(h.samples); n > 0 && (end.lsn < h.samples[n-1].lsn || end.bytes < h.samples[n-1].bytes) {
		h.samples = nil // another state was put in the place of the one before
	}
	gone, _ := slices.BinarySearchFunc(h.samples, v.First()+1, func(s sample, first pinetree.LSN) int {
		if s.lsn < first {
			return -1
		}
		return 1
	})
	h.samples = slices.Delete(h.samples, 0, gone)
	n := len(h.samples)
	if end.lsn <= v.First() || n > 0 && end.lsn == h.samples[n-1].lsn {
		return
	}
	if h.samples = append(h.samples, sample{now, end}); n == maxSamples {
		h.thin()
	}
}

// thin removes the sample that tells least.
func (h *History) thin() {
	first, last := h.samples[0], h.samples[len(h.samples)-1]
	weight := func(i int) float64 {
		before, after := h.samples[i-1], h.samples[i+1]
		return max(float64(after.at-before.at)/float64(max(last.at-first.at, 1)), float64(after.bytes-before.bytes)/float64(max(last.bytes-first.bytes, 1)))
	}
	least := 1
	for i := 2; i < len(h.samples)-1; i++ {
		if weight(i) < weight(least) {
			least = i
		}
	}
	h.samples = slices.Delete(h.samples, least, least+1)
}

// aged is the newest end of the log that was its end at a time already; zero when
// that is not remembered.
func (h *History) aged(at time.Duration) pinetree.LSN {
	var lsn pinetree.LSN
	for _, s := range h.samples {
		if s.at <= at {
			lsn = s.lsn
		}
	}
	return lsn
}

// around are the neighbouring points that are known, of which the first is the
// last one that is not beyond something.
func (h *History) around(v pinetree.VolumePosition, beyond func(point) bool) (before, after point) {
	before, after = point{v.First(), v.TruncatedBytes}, point{v.LSN, v.LogBytes}
	for _, s := range h.samples {
		switch {
		case s.lsn <= before.lsn || s.lsn >= after.lsn:
		case beyond(s.point):
			return before, s.point
		default:
			before = s.point
		}
	}
	return before, after
}

// upTo is about how many bytes of batches are at or below an LSN of the log that
// is kept.
func (h *History) upTo(v pinetree.VolumePosition, lsn pinetree.LSN) int64 {
	if lsn >= v.LSN {
		return v.LogBytes
	}
	before, after := h.around(v, func(p point) bool { return p.lsn > lsn })
	return between(before, after, max(lsn, before.lsn))
}

// behind is about the highest LSN that has so many bytes of log behind it.
func (h *History) behind(v pinetree.VolumePosition, bytes int64) pinetree.LSN {
	limit := v.LogBytes - bytes
	if limit <= v.TruncatedBytes {
		return v.First()
	}
	before, after := h.around(v, func(p point) bool { return p.bytes > limit })
	if limit-before.bytes <= bytes/16 || after.bytes <= before.bytes {
		return before.lsn // the end of a record, unlike what is between
	}
	hi, lo := bits.Mul64(uint64(after.lsn-before.lsn), uint64(limit-before.bytes))
	q, _ := bits.Div64(hi, lo, uint64(after.bytes-before.bytes))
	return before.lsn + pinetree.LSN(q)
}

// between is how many bytes there are up to an LSN between two points, if they are
// spread evenly.
func between(before, after point, lsn pinetree.LSN) int64 {
	if after.lsn <= before.lsn || after.bytes <= before.bytes {
		return before.bytes
	}
	hi, lo := bits.Mul64(uint64(after.bytes-before.bytes), uint64(min(lsn, after.lsn)-before.lsn))
	q, _ := bits.Div64(hi, lo, uint64(after.lsn-before.lsn))
	return before.bytes + int64(q)
}
