package segment

import (
	"encoding/binary"
	"hash/crc32"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/raftlog"
)

// batch collects the frames of one write and what they change. Its memory is
// used again from write to write.
type batch struct {
	at      place // of the batch in the file
	synced  int64
	buf     []byte
	cuts    []cut
	outside int64 // bytes of the cuts' data
	slots   []slot
	changes []change
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

func (b *batch) reset(at place, synced int64) {
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

// size is how many bytes the batch takes in the file.
func (b *batch) size() int64 { return int64(len(b.buf)) + b.outside }

// place is where the next byte will be in the file.
func (b *batch) place() place { return place{b.at.segment, b.at.offset + b.size()} }

// gather returns the batch in the order of the file, followed by zeroes to
// fill the file with. It is valid until the next reset.
func (b *batch) gather(fill int64) [][]byte {
	from := 0
	for _, c := range b.cuts {
		b.parts = append(b.parts, b.buf[from:c.at], c.data)
		from = c.at
	}
	b.parts = append(b.parts, b.buf[from:])
	for fill > 0 {
		n := min(fill, int64(len(zeroes)))
		b.parts = append(b.parts, zeroes[:n])
		fill -= n
	}
	return b.parts
}

// opened is a frame that is being put together.
type opened struct {
	at    place
	start int // in the buffer
}

// open makes room for a frame's header. The frame's head comes next.
func (b *batch) open() opened {
	o := opened{at: b.place(), start: len(b.buf)}
	b.buf = append(b.buf, zeroes[:frameHeaderBytes]...)
	return o
}

// head is the size of an open frame's head, as long as no data follows it.
func (b *batch) head(o opened) int { return len(b.buf) - o.start - frameHeaderBytes }

// seal completes an open frame whose head has that many bytes.
func (b *batch) seal(o opened, head int, h header) {
	h.headBytes, h.bodyBytes, h.synced = head, int(b.place().offset-o.at.offset)-frameHeaderBytes, b.synced
	b.buf = append(b.buf, zeroes[:frameBytes(h.bodyBytes)-frameHeaderBytes-h.bodyBytes]...)
	putHeader(b.buf[o.start:], o.at, h)
}

func (b *batch) addUpdate(u *raftlog.Update) {
	c := change{kind: kindUpdate, group: u.Group}
	o := b.open()
	b.buf = append(b.buf, 0)
	if u.Restart != nil {
		c.flags |= hasRestart
		c.start = *u.Restart
		b.buf = appendPoint(b.buf, c.start)
	}
	if u.HardState != nil {
		c.flags |= hasHardState
		c.hard = hardState{u.HardState.GetTerm(), u.HardState.GetVote(), u.HardState.GetCommit()}
		b.buf = appendHardState(b.buf, c.hard)
	}
	if len(u.Entries) > 0 {
		c.flags |= hasEntries
		c.first, c.entries = u.Entries[0].GetIndex(), u.Entries
		c.slots = b.addTable(u.Entries)
	}
	b.buf[o.start+frameHeaderBytes] = c.flags
	head := b.head(o)
	b.addData(u.Entries, c.slots)
	b.seal(o, head, header{kind: kindUpdate, group: u.Group})
	b.changes = append(b.changes, c)
}

// addTable appends count, first index and what is to be known of each entry to
// the open frame's head. It returns the entries' slots, still without places.
func (b *batch) addTable(entries []*raftpb.Entry) []slot {
	b.buf = binary.AppendUvarint(b.buf, uint64(len(entries)))
	b.buf = binary.AppendUvarint(b.buf, entries[0].GetIndex())
	from := len(b.slots)
	for _, e := range entries {
		s := slot{term: e.GetTerm(), size: packSize(len(e.Data), e.GetType()), crc: crc32.Checksum(e.Data, storepb.Castagnoli)}
		b.buf = appendSlot(b.buf, s)
		b.slots = append(b.slots, s)
	}
	return b.slots[from:len(b.slots):len(b.slots)]
}

// addData appends the data of the entries to the open frame, and completes
// their slots.
func (b *batch) addData(entries []*raftpb.Entry, slots []slot) {
	at := b.place()
	for i, e := range entries {
		slots[i].segment, slots[i].offset = uint32(at.segment), uint32(at.offset)
		at.offset += int64(len(e.Data))
		if len(e.Data) >= directBytes {
			b.cuts = append(b.cuts, cut{at: len(b.buf), data: e.Data})
			b.outside += int64(len(e.Data))
			continue
		}
		b.buf = append(b.buf, e.Data...)
	}
}

func (b *batch) addCompaction(group pinetree.GroupID, upTo raftlog.Point) {
	o := b.open()
	b.buf = appendPoint(b.buf, upTo)
	b.seal(o, b.head(o), header{kind: kindCompaction, group: group})
}

func (b *batch) addEmpty(k kind, group pinetree.GroupID) {
	b.seal(b.open(), 0, header{kind: k, group: group})
	if k == kindRemoval {
		b.changes = append(b.changes, change{kind: k, group: group})
	}
}

// checkpointBytes is about how large a checkpoint frame may grow.
const checkpointBytes = 1 << 20

// addCheckpoint appends the states as one or more checkpoint frames.
func (b *batch) addCheckpoint(states []state) {
	o := b.open()
	b.buf = append(b.buf, 0)
	for _, s := range states {
		if b.head(o) > checkpointBytes {
			b.seal(o, b.head(o), header{kind: kindCheckpoint})
			o = b.open()
			b.buf = append(b.buf, 0)
		}
		b.buf = binary.AppendUvarint(b.buf, uint64(s.group))
		b.buf = appendHardState(b.buf, s.hard)
		b.buf = appendPoint(b.buf, s.start)
		b.buf = binary.AppendUvarint(b.buf, s.last)
	}
	b.buf[o.start+frameHeaderBytes] = lastCheckpoint
	b.seal(o, b.head(o), header{kind: kindCheckpoint})
}

// addMoved adds a frame with the entries that are in those slots of another
// segment, the first of them with that index, and tells what they hold. When they
// cannot be read it adds nothing.
func (b *batch) addMoved(group pinetree.GroupID, first uint64, from *segmentFile, slots []slot) (moved int64, err error) {
	o := b.open()
	b.buf = binary.AppendUvarint(b.buf, uint64(len(slots)))
	b.buf = binary.AppendUvarint(b.buf, first)
	for _, s := range slots {
		b.buf = appendSlot(b.buf, s)
	}
	head, at := b.head(o), b.place()
	read, err := from.read(slots, b.buf)
	if err != nil {
		b.buf = b.buf[:o.start]
		return 0, err
	}
	b.buf = read
	begin := len(b.slots)
	for _, s := range slots {
		s.segment, s.offset = uint32(at.segment), uint32(at.offset)
		at.offset += int64(s.bytes())
		moved += s.held()
		b.slots = append(b.slots, s)
	}
	b.seal(o, head, header{kind: kindMoved, group: group})
	b.changes = append(b.changes, change{
		kind: kindMoved, group: group, first: first, slots: b.slots[begin:len(b.slots):len(b.slots)],
	})
	return moved, nil
}
