package segment

import (
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/segment/frame"
)

// index is what the frames add up to: each group's state, and where its
// entries are. Frames are applied to it in the order of the log, by Save as
// they are written and by recovery as they are read. It knows no file.
//
// Invariant: live[s] counts exactly the slots that are in segment s.
type index struct {
	groups map[pinetree.GroupID]*groupLog
	live   map[uint32]*holding
	recent recent
}

// groupLog is one group's log.
//
// Invariants:
//
//	slots[i] is that of the entry start.Index + 1 + i
//	cached are the last len(cached) entries, or fewer than are there
type groupLog struct {
	hard   frame.HardState
	start  raftlog.Point // the point before the first entry
	slots  []frame.Slot
	cached []*raftpb.Entry
}

// holding is what keeps a segment: the bytes of live entries, per group.
type holding struct {
	bytes  int64
	groups map[pinetree.GroupID]int64
}

func newIndex(cacheBytes int64) *index {
	return &index{
		groups: map[pinetree.GroupID]*groupLog{}, live: map[uint32]*holding{}, recent: recent{limit: cacheBytes},
	}
}

func (g *groupLog) last() uint64 { return uint64(g.start.Index) + uint64(len(g.slots)) }

// at is the slot of an entry that is there.
func (g *groupLog) at(i uint64) *frame.Slot { return &g.slots[i-uint64(g.start.Index)-1] }

func (g *groupLog) bounds() bounds { return bounds{start: uint64(g.start.Index), last: g.last()} }

// bounds are those of one group's log: entries in (start, last].
type bounds struct{ start, last uint64 }

// write tells the bounds after entries [first, first+count) were written, or
// why they cannot be.
func (b bounds) write(first uint64, count int) (bounds, string) {
	if first > b.last+1 {
		return b, fmt.Sprintf("entry %d would leave a hole after %d", first, b.last)
	}
	if first <= b.start {
		return b, fmt.Sprintf("entry %d would overwrite what is compacted up to %d", first, b.start)
	}
	return bounds{start: b.start, last: first + uint64(count) - 1}, ""
}

// check tells why a change read from a file cannot follow on what was read
// before it, or "".
func (x *index) check(c frame.Change) string {
	var b bounds
	g := x.groups[c.Group]
	if g != nil {
		b = g.bounds()
	}
	switch c.Kind {
	case frame.Update:
		if c.Flags&frame.HasRestart != 0 {
			b = bounds{start: uint64(c.Start.Index), last: uint64(c.Start.Index)}
		}
		if c.Flags&frame.HasEntries != 0 {
			_, wrong := b.write(c.First, len(c.Slots))
			return wrong
		}
	case frame.Compaction:
		if uint64(c.Start.Index) < b.start || uint64(c.Start.Index) > b.last {
			return fmt.Sprintf("compaction up to %d of a log that has (%d, %d]", c.Start.Index, b.start, b.last)
		}
	case frame.Moved:
		if c.First <= b.start || c.First+uint64(len(c.Slots))-1 > b.last {
			return fmt.Sprintf("moved entries from %d on are not in the log, which has (%d, %d]", c.First, b.start, b.last)
		}
		for i, s := range c.Slots {
			if old := g.at(c.First + uint64(i)); old.Segment != 0 && old.Term != s.Term {
				return fmt.Sprintf("moved entry %d has raft term %d, should be %d", c.First+uint64(i), s.Term, old.Term)
			}
		}
	case frame.Removal:
		if g == nil {
			return "removal of a group that is not there"
		}
	}
	return ""
}

// apply makes a change that check, or Save's own check, has agreed to.
func (x *index) apply(c frame.Change) {
	g := x.groups[c.Group]
	switch c.Kind {
	case frame.Update:
		if g == nil {
			g = &groupLog{}
			x.groups[c.Group] = g
		}
		if c.Flags&frame.HasRestart != 0 {
			x.truncate(c.Group, uint64(g.start.Index)+1)
			g.start, g.slots = c.Start, nil
		}
		if c.Flags&frame.HasHardState != 0 {
			g.hard = c.Hard
		}
		if c.Flags&frame.HasEntries != 0 {
			x.truncate(c.Group, c.First)
			g.slots = append(g.slots, c.Slots...)
			x.hold(c.Group, c.Slots, 1)
			x.remember(c)
		}
	case frame.Compaction:
		x.compact(c.Group, c.Start)
	case frame.Moved:
		places := g.slots[c.First-uint64(g.start.Index)-1:][:len(c.Slots)]
		x.hold(c.Group, places, -1)
		copy(places, c.Slots)
		x.hold(c.Group, places, 1)
	case frame.Removal:
		x.truncate(c.Group, uint64(g.start.Index)+1)
		delete(x.groups, c.Group)
	}
}

// truncate drops the entries from index first on.
func (x *index) truncate(group pinetree.GroupID, first uint64) {
	g := x.groups[group]
	if first > g.last() {
		return
	}
	keep := int(first - uint64(g.start.Index) - 1)
	x.hold(group, g.slots[keep:], -1)
	x.forgetLast(g, min(len(g.slots)-keep, len(g.cached)))
	g.slots = g.slots[:keep]
}

// compact drops the entries up to and including a point in the log.
func (x *index) compact(group pinetree.GroupID, upTo raftlog.Point) {
	g := x.groups[group]
	n := int(upTo.Index - g.start.Index)
	x.hold(group, g.slots[:n], -1)
	x.forgetFirst(g, max(len(g.cached)-(len(g.slots)-n), 0))
	g.start, g.slots = upTo, g.slots[n:]
	if cap(g.slots) > 2*len(g.slots)+64 {
		g.slots = slices.Clone(g.slots)
	}
}

// hold counts slots in (sign 1) or out (sign -1) of their segments.
func (x *index) hold(group pinetree.GroupID, slots []frame.Slot, sign int64) {
	for len(slots) > 0 {
		segment, bytes, n := slots[0].Segment, int64(0), 0
		for n < len(slots) && slots[n].Segment == segment {
			bytes += slots[n].Held()
			n++
		}
		slots = slots[n:]
		if segment == 0 {
			continue
		}
		h := x.live[segment]
		if h == nil {
			h = &holding{groups: map[pinetree.GroupID]int64{}}
			x.live[segment] = h
		}
		h.bytes += sign * bytes
		h.groups[group] += sign * bytes
		if h.groups[group] == 0 {
			delete(h.groups, group)
		}
	}
}

// states lists the state of every group, in rising order.
func (x *index) states() []frame.State {
	states := make([]frame.State, 0, len(x.groups))
	for _, group := range slices.Sorted(maps.Keys(x.groups)) {
		g := x.groups[group]
		states = append(states, frame.State{Group: group, Hard: g.hard, Start: g.start, Last: g.last()})
	}
	return states
}

// restore takes a group's state from the oldest segment's checkpoint: its
// entries are missing until a later frame brings them or drops them.
func (x *index) restore(s frame.State) {
	x.groups[s.Group] = &groupLog{hard: s.Hard, start: s.Start, slots: make([]frame.Slot, s.Last-uint64(s.Start.Index))}
}

// missing names an entry that no segment had, or "".
func (x *index) missing() string {
	for _, group := range slices.Sorted(maps.Keys(x.groups)) {
		g := x.groups[group]
		for i, s := range g.slots {
			if s.Segment == 0 {
				return fmt.Sprintf("entry %d of group %d is in no segment", uint64(g.start.Index)+1+uint64(i), group)
			}
		}
	}
	return ""
}
