package pinetree

import (
	"maps"
	"slices"
	"time"
)

// VolumePosition is how far one volume of a group has been replayed.
type VolumePosition struct {
	// LSN is the end of the last record replayed; zero when there is none and
	// no base has been set.
	LSN LSN
	// Base is the LSN at which the volume's log begins: the Prev of its first
	// record.
	Base LSN
	// Truncated is the LSN up to which the log and old versions are gone.
	Truncated LSN
	// Terms are the compute terms that fences opened, oldest first, each with
	// the LSN at which it began. The last one is open. At most MaxTermHistory
	// are kept. The slice is never written to, only replaced.
	Terms []TermStart
	// Format tells how the payloads are read.
	Format Format
	// LogBytes is how many bytes of batches were replayed since the volume was
	// made, and TruncatedBytes about how many of them are gone.
	LogBytes, TruncatedBytes int64
	// Settings are the operator's.
	Settings VolumeSettings
	// Slots are the readers for whom the log is kept, in the order of their
	// names, at most MaxSlots. The slice is never written to, only replaced.
	Slots []Slot
	// MetaRevision is that of the volume's metadata, of which the states from
	// MetaCompacted on are kept. MetaBytes is what it takes, history included.
	MetaRevision, MetaCompacted MetaRevision
	MetaBytes                   int64
}

// VolumeSettings say how much of a volume is kept and what it may use. Zero is no
// limit, so a volume without settings keeps everything.
type VolumeSettings struct {
	// KeepFor and KeepBytes: log and versions that are older than the one, or that
	// have more log than the other behind them, are truncated. With both, what
	// either of them gives up goes.
	KeepFor   time.Duration // in whole milliseconds
	KeepBytes int64
	// MaxBytes is the most log that is kept, held by slots or not: writers are
	// refused above it.
	MaxBytes int64
	// IngestRate bounds the log that is taken in, in bytes a second.
	IngestRate int64
	// ReadRate bounds the reads that each node answers, in reads a second.
	ReadRate int64
	// MaxTails bounds the tails that each node has open.
	MaxTails int
	// MetaBytes bounds the metadata that is kept, history included.
	MetaBytes int64
}

// MaxSlots bounds VolumePosition.Slots.
const MaxSlots = 64

// Slot keeps the log above an LSN for a named reader.
type Slot struct {
	Name string
	LSN  LSN // the reader has everything up to here
	// MaxBytes is how much log is kept for the reader at most; zero is no bound.
	// A slot that is over it is Lost: it keeps nothing any more.
	MaxBytes int64
	Lost     bool
}

// MaxTermHistory bounds VolumePosition.Terms.
const MaxTermHistory = 64

// TermStart tells where a compute term began: the LSN up to which the log was
// durable when its fence was applied.
type TermStart struct {
	Term  ComputeTerm
	Start LSN
}

// Term is the compute term that is open; zero when none was ever opened.
func (v VolumePosition) Term() ComputeTerm {
	if len(v.Terms) == 0 {
		return 0
	}
	return v.Terms[len(v.Terms)-1].Term
}

// Kept is about how many bytes of log there are.
func (v VolumePosition) Kept() int64 { return v.LogBytes - v.TruncatedBytes }

// First is the LSN above which the log is there.
func (v VolumePosition) First() LSN { return max(v.Base, v.Truncated) }

// Equal tells whether two positions are the same in everything.
func (v VolumePosition) Equal(w VolumePosition) bool {
	return v.LSN == w.LSN && v.Base == w.Base && v.Truncated == w.Truncated && v.Format == w.Format &&
		v.LogBytes == w.LogBytes && v.TruncatedBytes == w.TruncatedBytes && v.Settings == w.Settings &&
		v.MetaRevision == w.MetaRevision && v.MetaCompacted == w.MetaCompacted && v.MetaBytes == w.MetaBytes &&
		slices.Equal(v.Terms, w.Terms) && slices.Equal(v.Slots, w.Slots)
}

// Position is what a replica's engine has replayed. It is stored with the data
// in the same atomic write, so after a crash the two agree.
type Position struct {
	Index RaftIndex // last raft entry replayed
	Term  RaftTerm  // that entry's raft term
	// Restored is the Index at which the state was taken over from another
	// replica's snapshot; zero when it was replayed from the first entry on. A
	// raft log that ends below it belongs to the state before, which the
	// snapshot replaced.
	Restored RaftIndex
	// Membership is the group's raft membership as of Index, opaque here.
	Membership []byte
	Volumes    map[VolumeID]VolumePosition
}

// Clone returns a copy that shares nothing that is written to.
func (p Position) Clone() Position {
	p.Volumes = maps.Clone(p.Volumes)
	if p.Volumes == nil {
		p.Volumes = map[VolumeID]VolumePosition{}
	}
	return p
}

// Watermarks of a volume at one replica, always in this order:
// Truncated ≤ Flushed ≤ Applied ≤ Committed ≤ Ordered ≤ Received.
// Only a leader knows Ordered and Received; elsewhere they equal Committed.
type Watermarks struct {
	Truncated LSN `json:"truncated"` // the log up to here is gone
	Flushed   LSN `json:"flushed"`   // surely on this replica's engine's disk
	Applied   LSN `json:"applied"`   // replayed into the engine, readable
	Committed LSN `json:"committed"` // durable on a quorum, acknowledged
	Ordered   LSN `json:"ordered"`   // in raft's hands, in LSN order
	Received  LSN `json:"received"`  // highest end of any batch held
}

// Disorder reports the first pair of watermarks that is out of order, or "".
func (w Watermarks) Disorder() string {
	switch {
	case w.Truncated > w.Flushed:
		return "truncated > flushed"
	case w.Flushed > w.Applied:
		return "flushed > applied"
	case w.Applied > w.Committed:
		return "applied > committed"
	case w.Committed > w.Ordered:
		return "committed > ordered"
	case w.Ordered > w.Received:
		return "ordered > received"
	}
	return ""
}
