package segment

import (
	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog/segment/frame"
)

// reclaim lets go of the oldest segments as long as no live entry is in them;
// the keeper frees their files. It is called when everything that was applied
// to the index is durable: before that, a crash might bring back a state that
// needs them.
func (s *Store) reclaim() {
	for len(s.files) > 1 {
		oldest := s.files[0]
		if h := s.index.live[uint32(oldest.number)]; h != nil && len(h.groups) > 0 {
			return
		}
		s.mu.Lock()
		s.files = s.files[1:]
		delete(s.index.live, uint32(oldest.number))
		s.mu.Unlock()
		s.moving = cursor{}
		s.keeper.put(chore{dropped: oldest})
	}
}

// moveAllowance is how many bytes the next write may move out of the oldest
// segment: none unless more than half of all the space is dead, and else as
// many as the write itself has, so that moving keeps pace with growing.
func (s *Store) moveAllowance(bytes int64) int64 {
	if len(s.files) < 3 || s.stuck != nil {
		return 0
	}
	used, live := s.space()
	if used <= 2*live+2*s.segmentBytes {
		return 0
	}
	return max(bytes, min(maxIdleMove, s.segmentBytes/16))
}

// maxIdleMove is how much a small write may move, in bytes.
const maxIdleMove = 64 << 10

// space sums up the bytes of all frames, and those of live entries among them.
func (s *Store) space() (used, live int64) {
	for _, f := range s.files {
		used += f.end
		if h := s.index.live[uint32(f.number)]; h != nil {
			live += h.bytes
		}
	}
	return used, live
}

// cursor is how far the moving of entries out of the oldest segment has come.
type cursor struct {
	group pinetree.GroupID
	next  uint64 // index to go on from
	left  int64  // bytes of the group that are still to be found
}

// enter puts the cursor on a group that has entries to move, or back to the
// beginning.
func (c *cursor) enter(h *holding) bool {
	if c.left > 0 {
		return true
	}
	least := pinetree.GroupID(0)
	for group := range h.groups {
		if group > c.group && (least == 0 || group < least) {
			least = group
		}
	}
	*c = cursor{group: least, left: h.groups[least]}
	return least != 0
}

// addMoves adds frames with copies of the oldest segment's live entries.
func (s *Store) addMoves(allowance int64) {
	if allowance == 0 {
		return
	}
	oldest := s.files[0]
	h := s.index.live[uint32(oldest.number)]
	if h == nil {
		return
	}
	for allowance > 0 && s.moving.enter(h) {
		slots := s.nextToMove(oldest, allowance)
		if len(slots) == 0 {
			s.moving.left = 0
			continue
		}
		c := frame.Change{Group: s.moving.group, First: s.moving.next, Slots: slots}
		moved, err := s.batch.AddMoved(c, oldest.read)
		if err != nil {
			s.log.Error("raft log segment cannot be freed: a live entry in it cannot be read", "segment", frame.FileName(oldest.number), "error", err)
			s.mu.Lock()
			s.stuck = err
			s.mu.Unlock()
			return
		}
		allowance -= moved
		s.moving.next += uint64(len(slots))
		s.moving.left -= moved
	}
}

// nextToMove finds the next run of the cursor's group in the oldest segment,
// and puts the cursor on it.
func (s *Store) nextToMove(oldest *segmentFile, allowance int64) []frame.Slot {
	g := s.index.groups[s.moving.group]
	if g == nil {
		return nil
	}
	i := max(s.moving.next, uint64(g.start.Index)+1)
	for i <= g.last() && g.at(i).Segment != uint32(oldest.number) {
		i++
	}
	s.moving.next = i
	end, bytes := i, int64(0)
	for end <= g.last() && g.at(end).Segment == uint32(oldest.number) && bytes < allowance {
		bytes += g.at(end).Held()
		end++
	}
	first := i - uint64(g.start.Index) - 1
	return g.slots[first : first+end-i]
}
