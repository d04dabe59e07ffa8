package trimming

import (
	"cmp"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Change is the position of a volume after a committed change of it, the same on
// every replica. The given position's slices are not written to.
//
// What was decided on an older state is cut down to what still holds: the log is
// not truncated beyond what is replayed, nor beyond what a slot holds; a slot
// neither goes back, nor begins below what is gone, nor comes back from being
// lost; and one whose reader has moved on meanwhile is not lost, nor is one
// that may hold more by now.
func Change(at pinetree.VolumePosition, c *storepb.ChangeVolume) pinetree.VolumePosition {
	if c.Settings != nil {
		at.Settings = c.Settings.Read()
	}
	if len(c.DropSlots)+len(c.PutSlots) > 0 {
		at.Slots = slices.DeleteFunc(slices.Clone(at.Slots), func(s pinetree.Slot) bool { return slices.Contains(c.DropSlots, s.Name) })
		for _, s := range c.PutSlots {
			at.Slots = put(at, s.Read())
		}
	}
	return truncate(at, point{lsn: pinetree.LSN(c.Truncate), bytes: int64(c.TruncateBytes)})
}

// put returns the volume's slots with one made or changed. It may write to them.
func put(at pinetree.VolumePosition, s pinetree.Slot) []pinetree.Slot {
	i, there := slices.BinarySearchFunc(at.Slots, s, func(a, b pinetree.Slot) int { return cmp.Compare(a.Name, b.Name) })
	s.LSN = min(s.LSN, at.LSN)
	switch {
	case there && at.Slots[i].Lost:
	case there && s.Lost && (at.Slots[i].LSN > s.LSN || mayHoldMore(at.Slots[i], s)):
	case there && s.Lost:
		at.Slots[i].Lost = true
	case there && !s.Lost:
		at.Slots[i].LSN, at.Slots[i].MaxBytes = max(at.Slots[i].LSN, s.LSN), s.MaxBytes
	case !there && !s.Lost && s.LSN >= at.First() && len(at.Slots) < pinetree.MaxSlots:
		return slices.Insert(at.Slots, i, s)
	}
	return at.Slots
}

// mayHoldMore tells whether a slot may hold more than the one that a decision was about.
func mayHoldMore(now, then pinetree.Slot) bool {
	return then.MaxBytes > 0 && (now.MaxBytes == 0 || now.MaxBytes > then.MaxBytes)
}

// truncate gives up the log up to a point, or as much of it as may go.
func truncate(at pinetree.VolumePosition, asked point) pinetree.VolumePosition {
	to := min(asked.lsn, at.LSN)
	if holder, held := lowest(at.Slots); held {
		to = min(to, holder.LSN)
	}
	if to <= at.First() {
		return at
	}
	gone := max(asked.bytes, at.TruncatedBytes)
	if to < asked.lsn {
		gone = between(point{at.First(), at.TruncatedBytes}, point{asked.lsn, gone}, to)
	}
	at.Truncated, at.TruncatedBytes = to, min(gone, at.LogBytes)
	return at
}

// lowest is the slot that holds the most log; false when none holds any.
func lowest(slots []pinetree.Slot) (holder pinetree.Slot, held bool) {
	for _, s := range slots {
		if !s.Lost && (!held || s.LSN < holder.LSN) {
			holder, held = s, true
		}
	}
	return holder, held
}
