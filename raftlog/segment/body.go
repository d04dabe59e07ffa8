package segment

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
	hasRestart = 1 << iota
	hasHardState
	hasEntries
)

// lastCheckpoint is the first byte of the checkpoint frame that ends a
// segment's checkpoint.
const lastCheckpoint = 1

// slot is where an entry's data is, and what must be there. A slot of segment
// zero is missing: known to be in the log, its place not yet read.
type slot struct {
	term    uint64
	segment uint32
	offset  uint32
	size    uint32 // bytes of data, and above them the entry's type
	crc     uint32 // CRC32C of the data
}

// sizeBits are those of a slot's size that hold bytes.
const sizeBits = 30

func packSize(bytes int, kind raftpb.EntryType) uint32 { return uint32(bytes) | uint32(kind)<<sizeBits }

func (s slot) bytes() int { return int(s.size & (1<<sizeBits - 1)) }

// held is what the entry counts for where space is counted: an entry without
// data needs its place, too.
func (s slot) held() int64 { return int64(s.bytes()) + leastSlot }

func (s slot) kind() raftpb.EntryType { return raftpb.EntryType(s.size >> sizeBits) }

// hardState is raft's, without its pointers.
type hardState struct{ term, vote, commit uint64 }

// change is what one frame does to the log of one group.
type change struct {
	kind  kind
	group pinetree.GroupID
	flags byte // of an update
	// start is the point of a restart or a compaction.
	start raftlog.Point
	hard  hardState
	// first is the index of the first slot.
	first uint64
	slots []slot
	// entries are those of the slots, when they are at hand.
	entries []*raftpb.Entry
}

// state is one group's part of a checkpoint.
type state struct {
	group pinetree.GroupID
	hard  hardState
	start raftlog.Point
	last  uint64
}

func appendPoint(buf []byte, p raftlog.Point) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(buf, uint64(p.Index)), uint64(p.Term))
}

func appendHardState(buf []byte, h hardState) []byte {
	buf = binary.AppendUvarint(buf, h.term)
	buf = binary.AppendUvarint(buf, h.vote)
	return binary.AppendUvarint(buf, h.commit)
}

// appendSlot appends an entry's line in the table of a frame.
func appendSlot(buf []byte, s slot) []byte {
	buf = binary.AppendUvarint(buf, s.term)
	buf = append(buf, byte(s.kind()))
	buf = binary.AppendUvarint(buf, uint64(s.bytes()))
	return binary.LittleEndian.AppendUint32(buf, s.crc)
}

// leastSlot is the least that an entry takes in a table.
const leastSlot = 7

// maxLive bounds the entries of one group, and with them what recovery makes
// room for.
const maxLive = 1 << 32

// reader takes a head apart. After the first thing that is wrong it reads only
// zeroes.
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

func (r *reader) hardState() hardState {
	return hardState{r.number("hard state's term"), r.number("hard state's vote"), r.number("hard state's commit")}
}

// end checks that nothing is left.
func (r *reader) end() {
	if len(r.rest) > 0 {
		r.fail("bytes after the head's end")
	}
}

// slot reads an entry's line of a table.
func (r *reader) slot() slot {
	s := slot{term: r.number("raft term of an entry")}
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
	s.size, s.crc = packSize(int(bytes), kind), binary.LittleEndian.Uint32(r.rest)
	r.rest = r.rest[4:]
	return s
}

// table reads count, first index and the lines of entries whose data, of so
// many bytes, begins at that place.
func (r *reader) table(data int, at place) (first uint64, slots []slot) {
	count := r.number("count of entries")
	first = r.number("index of the first entry")
	if count == 0 || count > uint64(len(r.rest)/leastSlot) || first == 0 || first+count < first {
		r.fail("bad count or first index of entries")
		return 0, nil
	}
	slots = make([]slot, 0, count)
	for range count {
		s := r.slot()
		if s.bytes() > data {
			r.fail("entries longer than the frame")
		}
		if r.wrong != "" {
			return 0, nil
		}
		s.segment, s.offset = uint32(at.segment), uint32(at.offset)
		at.offset += int64(s.bytes())
		data -= s.bytes()
		slots = append(slots, s)
	}
	if data > 0 {
		r.fail("bytes after the last entry")
	}
	return first, slots
}

// decodeChange reads a frame of any kind but a checkpoint. It returns what is
// wrong, or "". It does not look at the entries' data.
func decodeChange(f frame) (change, string) {
	c := change{kind: f.kind, group: f.group}
	data := place{f.at.segment, f.at.offset + frameHeaderBytes + int64(len(f.head))}
	r := &reader{rest: f.head}
	if (f.group == 0) != (f.kind == kindProbe || f.kind == kindSynced || f.kind == kindEnd) {
		r.fail("zero is no group, and only updates, compactions, moves and removals are of one")
	}
	switch f.kind {
	case kindUpdate:
		if len(f.head) == 0 {
			return c, "empty head"
		}
		c.flags, r.rest = f.head[0], f.head[1:]
		if c.flags >= hasEntries<<1 {
			r.fail("unknown flags")
		}
		if c.flags&hasRestart != 0 {
			c.start = r.point()
		}
		if c.flags&hasHardState != 0 {
			c.hard = r.hardState()
		}
		if c.flags&hasEntries != 0 {
			c.first, c.slots = r.table(len(f.data), data)
		}
	case kindCompaction:
		c.start = r.point()
	case kindMoved:
		c.first, c.slots = r.table(len(f.data), data)
	}
	r.end()
	if len(c.slots) == 0 && len(f.data) > 0 {
		r.fail("data of no entry")
	}
	return c, r.wrong
}

// badData tells what is wrong with the data of a frame's entries, or "".
func badData(f frame, slots []slot) string {
	rest := f.data
	for _, s := range slots {
		data := rest[:s.bytes()]
		if got := crc32.Checksum(data, storepb.Castagnoli); got != s.crc {
			return fmt.Sprintf("%s frame of %d bytes: CRC32C of the entry of %d bytes at offset %d is %08x, should be %08x",
				kindNames[f.kind], f.size, len(data), s.offset, got, s.crc)
		}
		rest = rest[len(data):]
	}
	return ""
}

// decodeCheckpoint reads the head of a checkpoint frame. It returns what is
// wrong, or "".
func decodeCheckpoint(head []byte) (states []state, last bool, wrong string) {
	if len(head) == 0 || head[0] > lastCheckpoint {
		return nil, false, "bad flags"
	}
	r := &reader{rest: head[1:]}
	for len(r.rest) > 0 {
		s := state{group: pinetree.GroupID(r.number("group")), hard: r.hardState(), start: r.point(), last: r.number("last index")}
		if s.group == 0 || s.last < uint64(s.start.Index) || s.last-uint64(s.start.Index) > maxLive {
			r.fail("bad bounds of a group's log")
		}
		if r.wrong == "" {
			states = append(states, s)
		}
	}
	return states, head[0] == lastCheckpoint, r.wrong
}
