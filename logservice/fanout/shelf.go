package fanout

import (
	"slices"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// slice is a part of the log as it was read from an engine.
type slice struct {
	part
	ring    *ring
	applied pinetree.LSN // by the engine
	piece   []byte
	ends    []end // of its batches
}

// end is where a batch ends in the log and in its slice.
type end struct {
	lsn pinetree.LSN
	at  int
}

// after is what of a slice follows on an LSN, up to another one. Two tails whose
// slices were cut at different places are thus at the same place after one answer.
func (s slice) after(at, upTo pinetree.LSN) (part, bool) {
	if at < s.from || at >= s.to {
		return part{}, false
	}
	if at == s.from && s.to <= upTo {
		return s.part, true
	}
	n := len(s.ends)
	if upTo < s.to {
		n = s.upTo(upTo)
	}
	from := 0
	if at > s.from {
		i := s.upTo(at)
		if i == 0 || s.ends[i-1].lsn != at {
			return part{}, false // in the middle of a batch
		}
		from = s.ends[i-1].at
	}
	if n == 0 || s.ends[n-1].at <= from {
		return part{}, false
	}
	last := s.ends[n-1]
	return part{at, last.lsn, wirepb.NewOutgoingTail([][]byte{s.piece[from:last.at]}, s.applied)}, true
}

// upTo is how many of its batches end at an LSN or below.
func (s slice) upTo(lsn pinetree.LSN) int {
	n, _ := slices.BinarySearchFunc(s.ends, lsn, func(e end, lsn pinetree.LSN) int {
		if e.lsn <= lsn {
			return -1
		}
		return 1
	})
	return n
}

// shelf keeps the slices read last. Any goroutine may use it.
type shelf struct {
	limit int // on bytes

	mu     sync.Mutex
	bytes  int
	slices []slice // the oldest one first
}

// find is what of a slice of a ring's log a tail goes on with.
func (s *shelf) find(r *ring, after pinetree.LSN, q Query) (part, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.search(r, after, q)
}

// search is find; s.mu is held.
func (s *shelf) search(r *ring, after pinetree.LSN, q Query) (part, bool) {
	upTo := ^pinetree.LSN(0)
	if !q.Follow {
		upTo = q.Applied
	}
	for i := len(s.slices) - 1; i >= 0; i-- { // most tails are where the newest one is
		if s.slices[i].ring != r {
			continue
		}
		if p, ok := s.slices[i].after(after, upTo); ok {
			return p, true
		}
	}
	return part{}, false
}

// add puts a slice on the shelf, unless somebody else has read the same meanwhile.
func (s *shelf) add(added slice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.search(added.ring, added.from, Query{Follow: true}); known {
		return
	}
	s.slices = append(s.slices, added)
	s.bytes += cap(added.piece)
	for s.bytes > s.limit {
		s.bytes -= cap(s.slices[0].piece)
		s.slices = slices.Delete(s.slices, 0, 1)
	}
}

// forget drops the slices of a ring.
func (s *shelf) forget(r *ring) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slices = slices.DeleteFunc(s.slices, func(kept slice) bool {
		if kept.ring == r {
			s.bytes -= cap(kept.piece)
		}
		return kept.ring == r
	})
}
