package frame

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/raftlog"
)

// The flags of an update.
const (
	HasRestart = 1 << iota
	HasHardState
	HasEntries
)

// lastCheckpoint is the first byte of the checkpoint frame that ends a
// segment's checkpoint.
const lastCheckpoint = 1

// Slot is where an entry's data is, and what must be there. A slot of segment
// zero is missing: known to be in the log, its place not yet read.
type Slot struct {
	Term    uint64
	Segment uint32
	Offset  uint32
	size    uint32 // bytes of data, and above them the entry's type
	Sum     uint32 // CRC32C of the data
}

// sizeBits are those of a slot's size that hold bytes.
const sizeBits = 30

func packSize(bytes int, kind raftpb.EntryType) uint32 { return uint32(bytes) | uint32(kind)<<sizeBits }

// Bytes is the size of the data.
func (s Slot) Bytes() int { return int(s.size & (1<<sizeBits - 1)) }

// Held is what the entry counts for where space is counted: an entry without
// data needs its place, too.
func (s Slot) Held() int64 { return int64(s.Bytes()) + leastSlot }

// Type is raft's.
func (s Slot) Type() raftpb.EntryType { return raftpb.EntryType(s.size >> sizeBits) }

// HardState is raft's, without its pointers.
type HardState struct{ Term, Vote, Commit uint64 }

// Change is what one frame does to the log of one group.
type Change struct {
	Kind  Kind
	Group pinetree.GroupID
	Flags byte // of an update
	// Start is the point of a restart or a compaction.
	Start raftlog.Point
	Hard  HardState
	// First is the index of the first slot.
	First uint64
	Slots []Slot
	// Entries are those of the slots, when they are at hand.
	Entries []*raftpb.Entry
}

// State is one group's part of a checkpoint.
type State struct {
	Group pinetree.GroupID
	Hard  HardState
	Start raftlog.Point
	Last  uint64
}

func appendPoint(buf []byte, p raftlog.Point) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(buf, uint64(p.Index)), uint64(p.Term))
}

func appendHardState(buf []byte, h HardState) []byte {
	buf = binary.AppendUvarint(buf, h.Term)
	buf = binary.AppendUvarint(buf, h.Vote)
	return binary.AppendUvarint(buf, h.Commit)
}

// appendSlot appends an entry's line in the table of a frame.
func appendSlot(buf []byte, s Slot) []byte {
	buf = binary.AppendUvarint(buf, s.Term)
	buf = append(buf, byte(s.Type()))
	buf = binary.AppendUvarint(buf, uint64(s.Bytes()))
	return binary.LittleEndian.AppendUint32(buf, s.Sum)
}

// leastSlot is the least that an entry takes in a table.
const leastSlot = 7

// maxLive bounds the entries of one group, and with them what recovery makes
// room for.
const maxLive = 1 << 32

// reader takes a head apart. After the first thing that is wrong it reads only
// Zeroes.
type reader struct {
	rest  []byte
	wrong string
}

func (r *reader) fail(wrong string) {
	if r.wrong == "" {
		r.wrong = wrong
	}
	r.rest = nil
}

func (r *reader) number(name string) uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.fail("bad " + name)
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) point() raftlog.Point {
	return raftlog.Point{Index: pinetree.RaftIndex(r.number("index")), Term: pinetree.RaftTerm(r.number("raft term"))}
}

func (r *reader) hardState() HardState {
	return HardState{r.number("hard state's term"), r.number("hard state's vote"), r.number("hard state's commit")}
}

// end checks that nothing is left.
func (r *reader) end() {
	if len(r.rest) > 0 {
		r.fail("bytes after the head's end")
	}
}

// slot reads an entry's line of a table.
func (r *reader) slot() Slot {
	s := Slot{Term: r.number("raft term of an entry")}
	if len(r.rest) == 0 || raftpb.EntryType_name[int32(r.rest[0])] == "" {
		r.fail("bad type of an entry")
		return s
	}
	kind := raftpb.EntryType(r.rest[0])
	r.rest = r.rest[1:]
	bytes := r.number("length of an entry")
	if bytes >= 1<<sizeBits || len(r.rest) < 4 {
		r.fail("bad length or checksum of an entry")
		return s
	}
	s.size, s.Sum = packSize(int(bytes), kind), binary.LittleEndian.Uint32(r.rest)
	r.rest = r.rest[4:]
	return s
}

// table reads count, first index and the lines of entries whose data, of so
// many bytes, begins at that place.
func (r *reader) table(data int, at Place) (first uint64, slots []Slot) {
	count := r.number("count of entries")
	first = r.number("index of the first entry")
	if count == 0 || count > uint64(len(r.rest)/leastSlot) || first == 0 || first+count < first {
		r.fail("bad count or first index of entries")
		return 0, nil
	}
	slots = make([]Slot, 0, count)
	for range count {
		s := r.slot()
		if s.Bytes() > data {
			r.fail("entries longer than the frame")
		}
		if r.wrong != "" {
			return 0, nil
		}
		s.Segment, s.Offset = uint32(at.Segment), uint32(at.Offset)
		at.Offset += int64(s.Bytes())
		data -= s.Bytes()
		slots = append(slots, s)
	}
	if data > 0 {
		r.fail("bytes after the last entry")
	}
	return first, slots
}

// decodeChange reads a frame of any kind but a checkpoint. It returns what is
// wrong, or "". It does not look at the entries' data.
func decodeChange(f Frame) (Change, string) {
	c := Change{Kind: f.Kind, Group: f.Group}
	data := Place{f.At.Segment, f.At.Offset + HeaderBytes + int64(len(f.head))}
	r := &reader{rest: f.head}
	if (f.Group == 0) != (f.Kind == Probe || f.Kind == Synced || f.Kind == End) {
		r.fail("zero is no group, and only updates, compactions, moves and removals are of one")
	}
	switch f.Kind {
	case Update:
		if len(f.head) == 0 {
			return c, "empty head"
		}
		c.Flags, r.rest = f.head[0], f.head[1:]
		if c.Flags >= HasEntries<<1 {
			r.fail("unknown flags")
		}
		if c.Flags&HasRestart != 0 {
			c.Start = r.point()
		}
		if c.Flags&HasHardState != 0 {
			c.Hard = r.hardState()
		}
		if c.Flags&HasEntries != 0 {
			c.First, c.Slots = r.table(len(f.data), data)
		}
	case Compaction:
		c.Start = r.point()
	case Moved:
		c.First, c.Slots = r.table(len(f.data), data)
	}
	r.end()
	if len(c.Slots) == 0 && len(f.data) > 0 {
		r.fail("data of no entry")
	}
	return c, r.wrong
}

// badData tells what is wrong with the data of a frame's entries, or "".
func badData(f Frame, slots []Slot) string {
	rest := f.data
	for _, s := range slots {
		data := rest[:s.Bytes()]
		if got := crc32.Checksum(data, storepb.Castagnoli); got != s.Sum {
			return fmt.Sprintf("%s frame of %d bytes: CRC32C of the entry of %d bytes at offset %d is %08x, should be %08x",
				f.Kind, f.Size, len(data), s.Offset, got, s.Sum)
		}
		rest = rest[len(data):]
	}
	return ""
}

// decodeCheckpoint reads the head of a checkpoint frame. It returns what is
// wrong, or "".
func decodeCheckpoint(head []byte) (states []State, last bool, wrong string) {
	if len(head) == 0 || head[0] > lastCheckpoint {
		return nil, false, "bad flags"
	}
	r := &reader{rest: head[1:]}
	for len(r.rest) > 0 {
		s := State{Group: pinetree.GroupID(r.number("group")), Hard: r.hardState(), Start: r.point(), Last: r.number("last index")}
		if s.Group == 0 || s.Last < uint64(s.Start.Index) || s.Last-uint64(s.Start.Index) > maxLive {
			r.fail("bad bounds of a group's log")
		}
		if r.wrong == "" {
			states = append(states, s)
		}
	}
	return states, head[0] == lastCheckpoint, r.wrong
}
