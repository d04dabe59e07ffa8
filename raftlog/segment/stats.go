package segment

import (
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog/segment/frame"
)

// Stats tells how much there is and why it is not less.
type Stats struct {
	Groups      int
	Segments    int
	Bytes       int64 // of all frames
	LiveBytes   int64 // of the entries that raft may still ask for
	CachedBytes int64 // in memory
	Spares      int   // files that are ready to become segments
	Reused      int   // segments that were made of spares since the store was opened
	// Oldest is the name of the oldest segment's file.
	Oldest string
	// Held says why the oldest segment is not deleted; empty when it is the
	// only one.
	Held string
}

// Stats may be called by any goroutine.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := Stats{Groups: len(s.index.groups), Segments: len(s.files), CachedBytes: s.index.recent.bytes}
	st.Spares, st.Reused = s.keeper.counts()
	st.Bytes, st.LiveBytes = s.space()
	st.Oldest, st.Held = frame.FileName(s.files[0].number), s.held(s.files[0])
	return st
}

// held says why the oldest segment is not deleted.
func (s *Store) held(oldest *segmentFile) string {
	h := s.index.live[uint32(oldest.number)]
	switch {
	case len(s.files) == 1:
		return ""
	case h == nil || len(h.groups) == 0:
		return "waits for the next sync"
	case s.stuck != nil:
		return "an entry in it cannot be read: " + s.stuck.Error()
	}
	most := pinetree.GroupID(0)
	for group, bytes := range h.groups {
		if bytes > h.groups[most] || bytes == h.groups[most] && group < most {
			most = group
		}
	}
	g := s.index.groups[most]
	first := uint64(g.start.Index) + 1
	for g.at(first).Segment != uint32(oldest.number) {
		first++
	}
	return fmt.Sprintf("%d bytes of live entries of %d groups, most of group %d from index %d on",
		h.bytes, len(h.groups), most, first)
}

// Kept implements raftlog.Keeper.
func (s *Store) Kept() (bytes int64, why string) {
	st := s.Stats()
	return st.Bytes, st.Held
}
