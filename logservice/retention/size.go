package retention

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
)

// Size knows about how many bytes of entries are in the log above an index,
// of what was appended since the start. It has a mark every so many bytes, and
// forgets the oldest.
type Size struct {
	marks []sizeMark
	total int64
}

// sizeMark is how much was appended up to and including an index.
type sizeMark struct {
	index pinetree.RaftIndex
	total int64
}

const (
	marksPerLimit = 32 // of Limits.MaxBytes
	maxMarks      = marksPerLimit * (ActiveShare + 1)
)

// Append counts entries, which may overwrite the end of the log.
func (s *Size) Append(entries []*raftpb.Entry, limit int64) {
	if len(entries) == 0 {
		return
	}
	first := pinetree.RaftIndex(entries[0].GetIndex())
	for n := len(s.marks); n > 0 && s.marks[n-1].index >= first; n = len(s.marks) {
		s.marks = s.marks[:n-1]
		s.total = 0
		if n > 1 {
			s.total = s.marks[n-2].total
		}
	}
	step := max(1, limit/marksPerLimit)
	for _, e := range entries {
		s.total += int64(len(e.GetData()))
		if n := len(s.marks); n == 0 || s.total-s.marks[n-1].total >= step {
			s.marks = append(s.marks, sizeMark{pinetree.RaftIndex(e.GetIndex()), s.total})
		}
	}
	if n := len(s.marks) - maxMarks; n > 0 {
		s.marks = append(s.marks[:0], s.marks[n:]...)
	}
}

// Since is how many bytes follow on an index, to within a step: at least that
// many, unless the log is so long that the start is forgotten.
func (s *Size) Since(index pinetree.RaftIndex) int64 {
	for n := len(s.marks) - 1; n >= 0; n-- {
		if s.marks[n].index <= index {
			return s.total - s.marks[n].total
		}
	}
	if len(s.marks) == 0 {
		return 0
	}
	return s.total - s.marks[0].total
}
