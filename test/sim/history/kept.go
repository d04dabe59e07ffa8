package history

import (
	"slices"
	"sort"
	"time"

	"github.com/pinetree-db/pinetree"
)

// kept is what was promised of how much of a volume's log is kept, and what would
// allow for more to go.
//
// Invariants:
//
//	the ends in grown rise, and so do the bytes up to them
//	trimmed never falls
type kept struct {
	grown     []growth
	asked     pinetree.LSN // up to where anybody wanted the log gone
	trimmed   pinetree.LSN
	trimmedAt pinetree.RaftIndex // where that was first seen
	slots     map[string]promise
}

// growth is the end of a batch, and when a replica had it first.
type growth struct {
	lsn   pinetree.LSN
	bytes int64 // of all batches up to there
	at    time.Duration
}

// promise is a slot that its reader knows to be there.
type promise struct {
	lsn     pinetree.LSN
	since   pinetree.RaftIndex // it is in every position from here on
	dropped bool
}

func (h *History) keptOf(id pinetree.VolumeID) *kept {
	k := h.kept[id]
	if k == nil {
		k = &kept{slots: map[string]promise{}}
		h.kept[id] = k
	}
	return k
}

// Grew is told at a true time of each batch that a replica's engine takes.
func (h *History) Grew(b pinetree.Batch, now time.Duration) {
	k := h.keptOf(b.Volume)
	last := growth{}
	if n := len(k.grown); n > 0 {
		last = k.grown[n-1]
	}
	if b.LSN > last.lsn {
		k.grown = append(k.grown, growth{b.LSN, last.bytes + int64(b.Size()), now})
	}
}

// upTo is the newest growth at or below an LSN.
func (k *kept) upTo(lsn pinetree.LSN) growth {
	n := sort.Search(len(k.grown), func(i int) bool { return k.grown[i].lsn > lsn })
	if n == 0 {
		return growth{}
	}
	return k.grown[n-1]
}

// behind is how many bytes of batches are between two LSNs.
func (k *kept) behind(from, to pinetree.LSN) int64 { return k.upTo(to).bytes - k.upTo(from).bytes }

// Order is a decision that a volume's log is to go up to an LSN.
type Order struct {
	Volume pinetree.VolumeID
	To     pinetree.LSN
	// At is where the volume is for the one who decides, and Now the true time.
	At  pinetree.VolumePosition
	Now time.Duration
	// ByHand says that an operator wanted it, whatever the settings say.
	ByHand bool
}

// drift is more than by what clocks differ in how long something is kept, and about
// is the part of what is to be kept that surely is: nobody knows the sizes of single
// batches.
const (
	drift = 0.98
	about = 2
)

// Ordered is told of an order before anybody can follow it. One that nobody has asked
// for goes by the settings.
func (h *History) Ordered(o Order) {
	k, set := h.keptOf(o.Volume), o.At.Settings
	old := set.KeepFor > 0 && o.Now-k.upTo(o.To).at >= time.Duration(float64(set.KeepFor)*drift)
	much := set.KeepBytes > 0 && k.behind(o.To, o.At.LSN) >= set.KeepBytes/about
	if !o.ByHand && !old && !much {
		h.Fail("volume %d: its log up to %s is to go, which is %v old, with %d bytes behind it; it is to be kept for %v and %d bytes",
			o.Volume, o.To, o.Now-k.upTo(o.To).at, k.behind(o.To, o.At.LSN), set.KeepFor, set.KeepBytes)
	}
	k.asked = max(k.asked, o.To)
}

// SlotHeld is told that a reader hears that its slot is there, as of a raft index.
func (h *History) SlotHeld(id pinetree.VolumeID, s pinetree.Slot, at pinetree.RaftIndex) {
	k := h.keptOf(id)
	if _, known := k.slots[s.Name]; !known {
		k.slots[s.Name] = promise{lsn: s.LSN, since: at}
	}
}

// SlotMoves is told that a reader is about to ask for less: its slot is to go forward,
// or, when the LSN is zero, to be dropped.
func (h *History) SlotMoves(id pinetree.VolumeID, name string, to pinetree.LSN) {
	k := h.keptOf(id)
	p, known := k.slots[name]
	switch {
	case to == 0:
		p.dropped = true
	case known:
		p.lsn = max(p.lsn, to)
	default:
		return // nothing is promised yet
	}
	k.slots[name] = p
}

// Trimmed is told of where a volume is on a node, at each raft index at which it
// stands there: its log ends no later than anybody asked for, never sooner again, and
// what slots hold is there.
func (h *History) Trimmed(node pinetree.NodeID, id pinetree.VolumeID, at pinetree.RaftIndex, v pinetree.VolumePosition) {
	k := h.keptOf(id)
	switch {
	case v.Truncated > k.asked || v.Truncated > v.LSN:
		h.Fail("volume %d on node %d: truncated up to %s at index %d; the log ends at %s, and %s is the most that was asked for",
			id, node, v.Truncated, at, v.LSN, k.asked)
	case v.Truncated < k.trimmed && at >= k.trimmedAt:
		h.Fail("volume %d on node %d: truncated up to %s at index %d, and it was up to %s at index %d", id, node, v.Truncated, at, k.trimmed, k.trimmedAt)
	case v.Truncated > k.trimmed:
		k.trimmed, k.trimmedAt = v.Truncated, at
	}
	for name, p := range k.slots {
		if p.dropped || at < p.since {
			continue
		}
		i := slices.IndexFunc(v.Slots, func(s pinetree.Slot) bool { return s.Name == name })
		switch {
		case i < 0:
			h.Fail("volume %d on node %d: slot %s is not there at index %d; its reader knows it since index %d", id, node, name, at, p.since)
		case !v.Slots[i].Lost && v.Truncated > p.lsn:
			h.Fail("volume %d on node %d: truncated up to %s at index %d, beyond slot %s at %s", id, node, v.Truncated, at, name, p.lsn)
		case v.Slots[i].Lost && (v.Slots[i].MaxBytes == 0 || k.behind(v.Slots[i].LSN, v.LSN) < v.Slots[i].MaxBytes/about):
			h.Fail("volume %d on node %d: slot %s at %s is lost with %d bytes behind it; it may hold %d", id, node, name, v.Slots[i].LSN,
				k.behind(v.Slots[i].LSN, v.LSN), v.Slots[i].MaxBytes)
		}
	}
}
