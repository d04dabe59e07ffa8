package segment

import (
	"fmt"
	"hash/crc32"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/segment/frame"
)

// read appends the data of entries that are in slots of this segment to buf,
// each with its checksum checked. Neighbours are read together. On an error
// buf's contents are as they were.
func (f *segmentFile) read(slots []frame.Slot, buf []byte) ([]byte, error) {
	for len(slots) > 0 {
		n, bytes := 1, slots[0].Bytes()
		for n < len(slots) && int(slots[n].Offset) == int(slots[0].Offset)+bytes {
			bytes += slots[n].Bytes()
			n++
		}
		start := len(buf)
		buf = slices.Grow(buf, bytes)[:start+bytes]
		if bytes > 0 {
			if _, err := f.file.ReadAt(buf[start:], int64(slots[0].Offset)); err != nil {
				return nil, fmt.Errorf("read %d bytes at %s: %w", bytes, f.at(int64(slots[0].Offset)), err)
			}
		}
		for _, s := range slots[:n] {
			data := buf[start : start+s.Bytes()]
			if got := crc32.Checksum(data, storepb.Castagnoli); got != s.Sum {
				return nil, &pinetree.CorruptError{
					Where: f.at(int64(s.Offset)).String(),
					What:  fmt.Sprintf("entry of %d bytes: CRC32C is %08x, was %08x when it was written", s.Bytes(), got, s.Sum),
				}
			}
			start += s.Bytes()
		}
		slots = slots[n:]
	}
	return buf, nil
}

// view is a raftlog.View: a name to look up, so that it outlives its log.
type view struct {
	store *Store
	group pinetree.GroupID
}

// nothing is the log of a group that is not there.
var nothing groupLog

// log is the group's log. The store's lock must be held.
func (v view) log() *groupLog {
	if g := v.store.index.groups[v.group]; g != nil {
		return g
	}
	return &nothing
}

// HardState is what was last saved, as a copy.
func (v view) HardState() (*raftpb.HardState, error) {
	v.store.mu.RLock()
	h := v.log().hard
	v.store.mu.RUnlock()
	return &raftpb.HardState{Term: &h.Term, Vote: &h.Vote, Commit: &h.Commit}, nil
}

// Term of the entry at i, or of the point before the first.
func (v view) Term(i uint64) (uint64, error) {
	v.store.mu.RLock()
	defer v.store.mu.RUnlock()
	g := v.log()
	switch {
	case i < uint64(g.start.Index):
		return 0, raftlog.ErrCompacted
	case i == uint64(g.start.Index):
		return uint64(g.start.Term), nil
	case i > g.last():
		return 0, raftlog.ErrUnavailable
	}
	return g.at(i).Term, nil
}

// LastIndex is that of the last entry, or of the point before the first.
func (v view) LastIndex() (uint64, error) {
	v.store.mu.RLock()
	defer v.store.mu.RUnlock()
	return v.log().last(), nil
}

// FirstIndex is one above the point before the first entry.
func (v view) FirstIndex() (uint64, error) {
	v.store.mu.RLock()
	defer v.store.mu.RUnlock()
	return uint64(v.log().start.Index) + 1, nil
}

// Entries counts an entry's data and a few bytes more. What is no longer in
// memory is read from the disk, and a wrong checksum there is a
// *pinetree.CorruptError.
func (v view) Entries(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error) {
	v.store.mu.RLock()
	g := v.log()
	switch {
	case lo <= uint64(g.start.Index):
		v.store.mu.RUnlock()
		return nil, raftlog.ErrCompacted
	case hi > g.last()+1:
		v.store.mu.RUnlock()
		return nil, raftlog.ErrUnavailable
	case lo >= hi:
		v.store.mu.RUnlock()
		return nil, nil
	}
	slots := fitting(g.slots[lo-uint64(g.start.Index)-1:hi-uint64(g.start.Index)-1], maxBytes)
	entries := make([]*raftpb.Entry, len(slots))
	cachedFrom := g.last() + 1 - uint64(len(g.cached)) // index
	stored := 0
	for i := range slots {
		if lo+uint64(i) < cachedFrom {
			stored++
			continue
		}
		entries[i] = g.cached[lo+uint64(i)-cachedFrom]
	}
	var reads []segmentRead
	if stored > 0 {
		reads = v.store.plan(slots[:stored])
	}
	v.store.mu.RUnlock()
	err := readAll(reads, lo, entries)
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// fitting is how many of the slots a reader gets: one at least, and no more
// than maxBytes.
func fitting(slots []frame.Slot, maxBytes uint64) []frame.Slot {
	bytes := uint64(0)
	for i, s := range slots {
		bytes += uint64(s.Held())
		if bytes > maxBytes && i > 0 {
			return slots[:i]
		}
	}
	return slots
}

// segmentRead is a run of slots in one segment, to be read without the lock.
type segmentRead struct {
	from  *segmentFile
	slots []frame.Slot
}

// plan takes hold of the segments that the slots are in. The store's lock must
// be held.
func (s *Store) plan(slots []frame.Slot) []segmentRead {
	slots = slices.Clone(slots)
	var reads []segmentRead
	for len(slots) > 0 {
		n := 1
		for n < len(slots) && slots[n].Segment == slots[0].Segment {
			n++
		}
		from := s.files[uint64(slots[0].Segment)-s.files[0].number]
		if !s.closed {
			from.acquire()
		} else {
			from = nil
		}
		reads = append(reads, segmentRead{from: from, slots: slots[:n]})
		slots = slots[n:]
	}
	return reads
}

// readAll fills in the first entries, of index lo on, and lets go of the
// segments.
func readAll(reads []segmentRead, lo uint64, entries []*raftpb.Entry) (err error) {
	for _, r := range reads {
		if r.from == nil {
			return fmt.Errorf("raft log store is closed: %w", pinetree.ErrStopped)
		}
	}
	for _, r := range reads {
		if err == nil {
			err = r.decode(lo, entries)
		}
		r.from.release()
		lo, entries = lo+uint64(len(r.slots)), entries[len(r.slots):]
	}
	return err
}

// loaded is an entry with the numbers that it points to, so that many of them
// are one allocation.
type loaded struct {
	entry       raftpb.Entry
	index, term uint64
	kind        raftpb.EntryType
}

// decode reads the run's entries, of index lo on, into entries.
func (r segmentRead) decode(lo uint64, entries []*raftpb.Entry) error {
	bytes := 0
	for _, s := range r.slots {
		bytes += s.Bytes()
	}
	buf, err := r.from.read(r.slots, make([]byte, 0, bytes))
	if err != nil {
		return err
	}
	all := make([]loaded, len(r.slots))
	for i, s := range r.slots {
		l := &all[i]
		l.index, l.term, l.kind = lo+uint64(i), s.Term, s.Type()
		l.entry.Index, l.entry.Term, l.entry.Type = &l.index, &l.term, &l.kind
		if n := s.Bytes(); n > 0 {
			l.entry.Data, buf = buf[:n:n], buf[n:]
		}
		entries[i] = &l.entry
	}
	return nil
}
