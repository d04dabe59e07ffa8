package segment

import (
	"encoding/binary"
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

// slot is where an entry is, and what its bytes must be. A slot of segment
// zero is missing: known to be in the log, its place not yet read.
type slot struct {
	term    uint64
	segment uint32
	offset  uint32
	length  uint32
	crc     uint32
}

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

// batch collects the frames of one write and what they change. Its memory is
// used again from write to write.
type batch struct {
	at      place // of buf in the file
	synced  int64
	buf     []byte
	slots   []slot
	changes []change
}

func (b *batch) reset(at place, synced int64) {
	b.at, b.synced = at, synced
	b.buf, b.slots = b.buf[:0], b.slots[:0]
	clear(b.changes) // lets go of the entries
	b.changes = b.changes[:0]
	if cap(b.buf) > maxKeptBuffer {
		b.buf, b.slots = nil, nil
	}
}

// maxKeptBuffer bounds the memory that one large write leaves behind.
const maxKeptBuffer = 8 << 20

// open makes room for a frame's header and returns where the frame begins.
func (b *batch) open() int {
	start := len(b.buf)
	b.buf = append(b.buf, zeroes[:frameHeaderBytes]...)
	return start
}

// seal completes the frame that begins at start.
func (b *batch) seal(start int, k kind, group pinetree.GroupID) {
	at := place{b.at.segment, b.at.offset + int64(start)}
	b.buf = sealFrame(b.buf, start, at, header{kind: k, group: group, synced: b.synced})
}

func (b *batch) addUpdate(u *raftlog.Update) {
	c := change{kind: kindUpdate, group: u.Group}
	start := b.open()
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
		c.slots = b.addEntries(u.Entries)
	}
	b.buf[start+frameHeaderBytes] = c.flags
	b.seal(start, kindUpdate, u.Group)
	b.changes = append(b.changes, c)
}

// addEntries appends a count and the entries to the open frame.
func (b *batch) addEntries(entries []*raftpb.Entry) []slot {
	b.buf = binary.AppendUvarint(b.buf, uint64(len(entries)))
	from := len(b.slots)
	for _, e := range entries {
		start := len(b.buf)
		b.buf = storepb.AppendEntry(b.buf, e)
		b.slots = append(b.slots, b.slot(e.GetTerm(), start))
	}
	return b.slots[from:len(b.slots):len(b.slots)]
}

// slot is that of the encoded entry at the end of the buffer.
func (b *batch) slot(term uint64, start int) slot {
	encoded := b.buf[start:]
	return slot{
		term: term, segment: uint32(b.at.segment), offset: uint32(b.at.offset) + uint32(start),
		length: uint32(len(encoded)), crc: crc32.Checksum(encoded, storepb.Castagnoli),
	}
}

func (b *batch) addCompaction(group pinetree.GroupID, upTo raftlog.Point) {
	start := b.open()
	b.buf = appendPoint(b.buf, upTo)
	b.seal(start, kindCompaction, group)
}

func (b *batch) addEmpty(k kind, group pinetree.GroupID) {
	b.seal(b.open(), k, group)
	if k == kindRemoval {
		b.changes = append(b.changes, change{kind: k, group: group})
	}
}

// checkpointBytes is about how large a checkpoint frame may grow.
const checkpointBytes = 1 << 20

// addCheckpoint appends the states as one or more checkpoint frames.
func (b *batch) addCheckpoint(states []state) {
	start := b.open()
	b.buf = append(b.buf, 0)
	for _, s := range states {
		if len(b.buf)-start > checkpointBytes {
			b.seal(start, kindCheckpoint, 0)
			start = b.open()
			b.buf = append(b.buf, 0)
		}
		b.buf = binary.AppendUvarint(b.buf, uint64(s.group))
		b.buf = appendHardState(b.buf, s.hard)
		b.buf = appendPoint(b.buf, s.start)
		b.buf = binary.AppendUvarint(b.buf, s.last)
	}
	b.buf[start+frameHeaderBytes] = lastCheckpoint
	b.seal(start, kindCheckpoint, 0)
}

func appendPoint(buf []byte, p raftlog.Point) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(buf, uint64(p.Index)), uint64(p.Term))
}

func appendHardState(buf []byte, h hardState) []byte {
	buf = binary.AppendUvarint(buf, h.term)
	buf = binary.AppendUvarint(buf, h.vote)
	return binary.AppendUvarint(buf, h.commit)
}

// maxLive bounds the entries of one group, and with them what recovery makes
// room for.
const maxLive = 1 << 32

// reader takes a body apart. After the first thing that is wrong it reads only
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
		r.fail("bytes after the body's end")
	}
}

// entries reads a count and that many entries, which must be consecutive. The
// body began at that place.
func (r *reader) entries(body []byte, at place) (first uint64, slots []slot) {
	count := r.number("count of entries")
	if count == 0 || count > uint64(len(r.rest)) {
		r.fail("bad count of entries")
		return 0, nil
	}
	slots = make([]slot, 0, count)
	for i := range count {
		before := r.rest
		e, rest, err := storepb.DecodeEntry(before)
		if err != nil {
			r.fail(err.Error())
			return 0, nil
		}
		if i == 0 {
			first = e.GetIndex()
		}
		if first == 0 || e.GetIndex() != first+i {
			r.fail("entries are not consecutive")
			return 0, nil
		}
		r.rest = rest
		encoded := before[:len(before)-len(rest)]
		slots = append(slots, slot{
			term: e.GetTerm(), segment: uint32(at.segment), offset: uint32(at.offset) + uint32(len(body)-len(before)),
			length: uint32(len(encoded)), crc: crc32.Checksum(encoded, storepb.Castagnoli),
		})
	}
	return first, slots
}

// decodeChange reads the body of a frame of any kind but a checkpoint. The
// frame is at that place. It returns what is wrong, or "".
func decodeChange(h header, body []byte, at place) (change, string) {
	c := change{kind: h.kind, group: h.group}
	at.offset += frameHeaderBytes
	r := &reader{rest: body}
	if (h.group == 0) != (h.kind == kindProbe) {
		r.fail("zero is no group, and a probe is of none")
	}
	switch h.kind {
	case kindUpdate:
		if len(body) == 0 {
			return c, "empty body"
		}
		c.flags, r.rest = body[0], body[1:]
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
			c.first, c.slots = r.entries(body, at)
		}
	case kindCompaction:
		c.start = r.point()
	case kindMoved:
		c.first, c.slots = r.entries(body, at)
	}
	r.end()
	return c, r.wrong
}

// decodeCheckpoint reads the body of a checkpoint frame. It returns what is
// wrong, or "".
func decodeCheckpoint(body []byte) (states []state, last bool, wrong string) {
	if len(body) == 0 || body[0] > lastCheckpoint {
		return nil, false, "bad flags"
	}
	r := &reader{rest: body[1:]}
	for len(r.rest) > 0 {
		s := state{group: pinetree.GroupID(r.number("group")), hard: r.hardState(), start: r.point(), last: r.number("last index")}
		if s.group == 0 || s.last < uint64(s.start.Index) || s.last-uint64(s.start.Index) > maxLive {
			r.fail("bad bounds of a group's log")
		}
		if r.wrong == "" {
			states = append(states, s)
		}
	}
	return states, body[0] == lastCheckpoint, r.wrong
}
