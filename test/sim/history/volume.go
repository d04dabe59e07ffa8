package history

import (
	"errors"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/engine"
)

// volumeHistory is one volume's log as the first replica replayed it, and what
// was promised about it.
//
// Invariant: log is a gapless chain from its first prev.
type volumeHistory struct {
	log      []piece
	byPrev   map[pinetree.LSN]int
	floor    pinetree.LSN // acknowledged, or returned by a read that is not stale
	opened   pinetree.ComputeTerm
	acked    map[adapter.Append]uint64 // sums of acknowledged batches
	outcomes map[adapter.Append]adapter.Outcome
}

// piece is a batch in the log.
type piece struct {
	prev, lsn pinetree.LSN
	term      pinetree.ComputeTerm
	sum       uint64
}

func pieceOf(b pinetree.Batch) piece {
	return piece{prev: b.Prev, lsn: b.LSN, term: b.Term, sum: Sum(b.Encoded)}
}

func (h *History) volume(id pinetree.VolumeID) *volumeHistory {
	v := h.volumes[id]
	if v == nil {
		v = &volumeHistory{
			byPrev: map[pinetree.LSN]int{},
			acked:  map[adapter.Append]uint64{}, outcomes: map[adapter.Append]adapter.Outcome{},
		}
		h.volumes[id] = v
	}
	return v
}

// Applied is told of each batch that a replica's engine takes. The first
// replica that takes one settles what all others must have in its place.
func (h *History) Applied(node pinetree.NodeID, b pinetree.Batch) {
	v, p := h.volume(b.Volume), pieceOf(b)
	if i, known := v.byPrev[b.Prev]; known {
		if v.log[i] != p {
			h.Fail("volume %d: node %d replays (%s, %s] of compute term %d, another replica (%s, %s] of compute term %d",
				b.Volume, node, p.prev, p.lsn, p.term, v.log[i].prev, v.log[i].lsn, v.log[i].term)
		}
		return
	}
	if n := len(v.log); n > 0 {
		switch last := v.log[n-1]; {
		case last.lsn != p.prev:
			h.Fail("volume %d: node %d replays (%s, %s], the log ends at %s: a hole or a repetition", b.Volume, node, p.prev, p.lsn, last.lsn)
		case last.term > p.term:
			h.Fail("volume %d: a batch of compute term %d, up to %s, after one of term %d", b.Volume, p.term, p.lsn, last.term)
		}
	}
	if p.term < v.opened {
		h.Fail("volume %d: batch (%s, %s] of compute term %d was applied after term %d was open", b.Volume, p.prev, p.lsn, p.term, v.opened)
	}
	v.byPrev[p.prev] = len(v.log)
	v.log = append(v.log, p)
}

// Acknowledged is told of a batch at the instant at which its writer could
// first hear that it is committed.
func (h *History) Acknowledged(b pinetree.Batch) {
	v := h.volume(b.Volume)
	v.acked[adapter.Append{Term: b.Term, LSN: b.LSN}] = Sum(b.Encoded)
	v.floor = max(v.floor, b.LSN)
}

// Floor is what a read or an opening that begins now must reflect.
func (h *History) Floor(id pinetree.VolumeID) pinetree.LSN { return h.volume(id).floor }

// Opened is told that a compute term is open, its writer being told the durable
// LSN; floor is that of when it asked.
func (h *History) Opened(id pinetree.VolumeID, term pinetree.ComputeTerm, durable, floor pinetree.LSN) {
	v := h.volume(id)
	if durable < floor {
		h.Fail("volume %d: compute term %d was told that %s is durable; %s was acknowledged before it asked", id, term, durable, floor)
	}
	v.opened = max(v.opened, term)
}

// ErrStale is the breach of a read that is older than it may be.
var ErrStale = errors.New("stale read")

// Read is the answer to a read.
type Read struct {
	Node   pinetree.NodeID
	Volume pinetree.VolumeID
	Level  pinetree.ReadLevel
	How    string       // words for a breach
	Floor  pinetree.LSN // Floor, when it began
	At     pinetree.LSN // what it saw
}

// Answered is told of a read at the instant at which it is settled.
func (h *History) Answered(r Read) {
	if r.Level == pinetree.ReadStale {
		return
	}
	if r.At < r.Floor {
		h.Fail("%w: volume %d: a %s read (%s) on node %d saw %s; %s was acknowledged or read before it began", ErrStale, r.Volume, r.Level, r.How, r.Node, r.At, r.Floor)
	}
	v := h.volume(r.Volume)
	v.floor = max(v.floor, r.At)
}

// Resolved is told what a writer was answered about an append. Committed and
// Rejected are final.
func (h *History) Resolved(id pinetree.VolumeID, a adapter.Append, o adapter.Outcome) {
	v := h.volume(id)
	known, there := v.outcomes[a]
	if there && known != adapter.NotCommitted && known != o {
		h.Fail("volume %d: append of compute term %d up to %s was %s and is now %s", id, a.Term, a.LSN, known, o)
		return
	}
	v.outcomes[a] = o
}

var errMismatch = errors.New("the log differs")

// Log compares what a replica reads back above from, as far as it reaches, with
// the history, and returns up to where it read.
func (h *History) Log(node pinetree.NodeID, id pinetree.VolumeID, r engine.Reader, from pinetree.LSN) pinetree.LSN {
	v, at, first := h.volume(id), from, true
	err := r.Log(from, func(b pinetree.Batch) error {
		i, known := v.byPrev[b.Prev]
		if !known || v.log[i] != pieceOf(b) || !first && b.Prev != at || first && b.Prev > from {
			h.Fail("volume %d: node %d reads back (%s, %s] after %s, which is not what was applied there", id, node, b.Prev, b.LSN, at)
			return errMismatch
		}
		at, first = b.LSN, false
		return nil
	})
	if err != nil && !errors.Is(err, errMismatch) {
		h.Fail("volume %d: node %d cannot read its log above %s: %w", id, node, from, err)
	}
	return at
}

// End compares all that was promised of a volume with its log, after the last
// append. It returns the end of the log and the number of its batches.
func (h *History) End(id pinetree.VolumeID) (pinetree.LSN, int) {
	v := h.volume(id)
	inLog := make(map[adapter.Append]uint64, len(v.log))
	for _, p := range v.log {
		inLog[adapter.Append{Term: p.term, LSN: p.lsn}] = p.sum
	}
	for a, sum := range v.acked {
		if got, there := inLog[a]; !there || got != sum {
			h.Fail("volume %d: the append of compute term %d up to %s was acknowledged and is not in the log", id, a.Term, a.LSN)
		}
	}
	for a, o := range v.outcomes {
		_, there := inLog[a]
		if there && o == adapter.Rejected || !there && o == adapter.Committed {
			h.Fail("volume %d: the append of compute term %d up to %s was resolved as %s; in the log: %v", id, a.Term, a.LSN, o, there)
		}
	}
	end := pinetree.LSN(0)
	if n := len(v.log); n > 0 {
		end = v.log[n-1].lsn
	}
	return end, len(v.log)
}
