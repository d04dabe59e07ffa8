package frame

import (
	"encoding/binary"
	"hash/crc32"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/raftlog"
)

// Batch collects the frames of one write and what they change. Its memory is
// used again from write to write.
type Batch struct {
	at      Place // of the batch in the file
	synced  int64
	buf     []byte
	cuts    []cut
	outside int64 // bytes of the cuts' data
	slots   []Slot
	changes []Change
	parts   [][]byte
}

// cut says that data, which is not in the buffer, comes after its first at
// bytes.
type cut struct {
	at   int
	data []byte
}

// directBytes is the size from which an entry's data is written from where it
// is rather than copied: below it, one more part of a write costs more than
// the copy.
const directBytes = 8 << 10

// maxKeptBuffer bounds the memory that one large write leaves behind.
const maxKeptBuffer = 8 << 20

// Reset empties the batch for a write at that place of a segment that is synced
// up to that offset.
func (b *Batch) Reset(at Place, synced int64) {
	b.at, b.synced = at, synced
	b.buf, b.slots, b.outside = b.buf[:0], b.slots[:0], 0
	// The entries are the caller's: let go of them.
	clear(b.cuts)
	clear(b.parts)
	clear(b.changes)
	b.cuts, b.parts, b.changes = b.cuts[:0], b.parts[:0], b.changes[:0]
	if cap(b.buf) > maxKeptBuffer {
		b.buf, b.slots = nil, nil
	}
}

// Changes are what the frames do, in order, valid until the next Reset.
func (b *Batch) Changes() []Change { return b.changes }

// AddFileHeader begins a segment that goes on where the one before it ended:
// at that offset, zero for the first.
func (b *Batch) AddFileHeader(before int64) {
	b.buf = append(b.buf, FileHeader(b.at.Segment, before)...)
}

// Size is how many bytes the batch takes in the file.
func (b *Batch) Size() int64 { return int64(len(b.buf)) + b.outside }

// place is where the next byte will be in the file.
func (b *Batch) place() Place { return Place{b.at.Segment, b.at.Offset + b.Size()} }

// Gather returns the batch in the order of the file, followed by Zeroes to
// fill the file with. It is valid until the next Reset.
func (b *Batch) Gather(fill int64) [][]byte {
	from := 0
	for _, c := range b.cuts {
		b.parts = append(b.parts, b.buf[from:c.at], c.data)
		from = c.at
	}
	b.parts = append(b.parts, b.buf[from:])
	for fill > 0 {
		n := min(fill, int64(len(Zeroes)))
		b.parts = append(b.parts, Zeroes[:n])
		fill -= n
	}
	return b.parts
}

// opened is a frame that is being put together.
type opened struct {
	at    Place
	start int // in the buffer
}

// open makes room for a frame's header. The frame's head comes next.
func (b *Batch) open() opened {
	o := opened{at: b.place(), start: len(b.buf)}
	b.buf = append(b.buf, Zeroes[:HeaderBytes]...)
	return o
}

// head is the size of an open frame's head, as long as no data follows it.
func (b *Batch) head(o opened) int { return len(b.buf) - o.start - HeaderBytes }

// seal completes an open frame whose head has that many bytes.
func (b *Batch) seal(o opened, head int, h header) {
	h.headBytes, h.bodyBytes, h.Synced = head, int(b.place().Offset-o.at.Offset)-HeaderBytes, b.synced
	b.buf = append(b.buf, Zeroes[:Bytes(h.bodyBytes)-HeaderBytes-h.bodyBytes]...)
	putHeader(b.buf[o.start:], o.at, h)
}

// AddUpdate adds the frame of an update. Its entries are kept until the next
// Reset.
func (b *Batch) AddUpdate(u *raftlog.Update) {
	c := Change{Kind: Update, Group: u.Group}
	o := b.open()
	b.buf = append(b.buf, 0)
	if u.Restart != nil {
		c.Flags |= HasRestart
		c.Start = *u.Restart
		b.buf = appendPoint(b.buf, c.Start)
	}
	if u.HardState != nil {
		c.Flags |= HasHardState
		c.Hard = HardState{u.HardState.GetTerm(), u.HardState.GetVote(), u.HardState.GetCommit()}
		b.buf = appendHardState(b.buf, c.Hard)
	}
	if len(u.Entries) > 0 {
		c.Flags |= HasEntries
		c.First, c.Entries = u.Entries[0].GetIndex(), u.Entries
		c.Slots = b.addTable(u.Entries, u.Sums)
	}
	b.buf[o.start+HeaderBytes] = c.Flags
	head := b.head(o)
	b.addData(u.Entries, c.Slots)
	b.seal(o, head, header{Kind: Update, Group: u.Group})
	b.changes = append(b.changes, c)
}

// addTable appends count, first index and what is to be known of each entry to
// the open frame's head. It returns the entries' slots, still without places.
// Without sums it computes them.
func (b *Batch) addTable(entries []*raftpb.Entry, sums []uint32) []Slot {
	b.buf = binary.AppendUvarint(b.buf, uint64(len(entries)))
	b.buf = binary.AppendUvarint(b.buf, entries[0].GetIndex())
	from := len(b.slots)
	for i, e := range entries {
		s := Slot{Term: e.GetTerm(), size: packSize(len(e.Data), e.GetType())}
		if sums != nil {
			s.Sum = sums[i]
		} else {
			s.Sum = crc32.Checksum(e.Data, storepb.Castagnoli)
		}
		b.buf = appendSlot(b.buf, s)
		b.slots = append(b.slots, s)
	}
	return b.slots[from:len(b.slots):len(b.slots)]
}

// addData appends the data of the entries to the open frame, and completes
// their slots.
func (b *Batch) addData(entries []*raftpb.Entry, slots []Slot) {
	at := b.place()
	for i, e := range entries {
		slots[i].Segment, slots[i].Offset = uint32(at.Segment), uint32(at.Offset)
		at.Offset += int64(len(e.Data))
		if len(e.Data) >= directBytes {
			b.cuts = append(b.cuts, cut{at: len(b.buf), data: e.Data})
			b.outside += int64(len(e.Data))
			continue
		}
		b.buf = append(b.buf, e.Data...)
	}
}

// AddCompaction adds a frame that drops entries.
func (b *Batch) AddCompaction(group pinetree.GroupID, upTo raftlog.Point) {
	o := b.open()
	b.buf = appendPoint(b.buf, upTo)
	b.seal(o, b.head(o), header{Kind: Compaction, Group: group})
}

// AddEmpty adds a frame without a body.
func (b *Batch) AddEmpty(k Kind, group pinetree.GroupID) {
	b.seal(b.open(), 0, header{Kind: k, Group: group})
	if k == Removal {
		b.changes = append(b.changes, Change{Kind: k, Group: group})
	}
}

// checkpointBytes is about how large a checkpoint frame may grow.
const checkpointBytes = 1 << 20

// AddCheckpoint appends the states as one or more checkpoint frames.
func (b *Batch) AddCheckpoint(states []State) {
	o := b.open()
	b.buf = append(b.buf, 0)
	for _, s := range states {
		if b.head(o) > checkpointBytes {
			b.seal(o, b.head(o), header{Kind: Checkpoint})
			o = b.open()
			b.buf = append(b.buf, 0)
		}
		b.buf = binary.AppendUvarint(b.buf, uint64(s.Group))
		b.buf = appendHardState(b.buf, s.Hard)
		b.buf = appendPoint(b.buf, s.Start)
		b.buf = binary.AppendUvarint(b.buf, s.Last)
	}
	b.buf[o.start+HeaderBytes] = lastCheckpoint
	b.seal(o, b.head(o), header{Kind: Checkpoint})
}

// AddMoved adds a frame with the entries that are in those slots of another
// segment, the first of them with that index, and tells what they hold. When they
// cannot be read it adds nothing.
func (b *Batch) AddMoved(c Change, read func([]Slot, []byte) ([]byte, error)) (moved int64, err error) {
	slots := c.Slots
	o := b.open()
	b.buf = binary.AppendUvarint(b.buf, uint64(len(slots)))
	b.buf = binary.AppendUvarint(b.buf, c.First)
	for _, s := range slots {
		b.buf = appendSlot(b.buf, s)
	}
	head, at := b.head(o), b.place()
	with, err := read(slots, b.buf)
	if err != nil {
		b.buf = b.buf[:o.start]
		return 0, err
	}
	b.buf = with
	begin := len(b.slots)
	for _, s := range slots {
		s.Segment, s.Offset = uint32(at.Segment), uint32(at.Offset)
		at.Offset += int64(s.Bytes())
		moved += s.Held()
		b.slots = append(b.slots, s)
	}
	b.seal(o, head, header{Kind: Moved, Group: c.Group})
	c.Kind, c.Slots = Moved, b.slots[begin:len(b.slots):len(b.slots)]
	b.changes = append(b.changes, c)
	return moved, nil
}
