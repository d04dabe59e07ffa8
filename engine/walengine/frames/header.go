package frames

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

const (
	// FileHeaderBytes is the length of a file's header.
	FileHeaderBytes = 64
	fileVersion     = 1
	// HeaderBytes is the length of a frame's header.
	HeaderBytes = 32
	// Align keeps a frame's header within one sector.
	Align       = 32
	sectorBytes = 512
	endMark     = 0xED
	// MaxPart bounds the head and the batches of a frame, and with them
	// what recovery believes.
	MaxPart = 1 << 30
)

var fileMagic = [8]byte{'P', 'T', 'W', 'A', 'L', 'L', 'O', 'G'}

// Offset is a place in a group's log: the bytes of the frames before it.
type Offset int64

// Kind is the letter of a frame. Each differs from zero in several bits, so
// that no single flipped bit makes a header look unwritten.
type Kind byte

// The kinds of frames.
const (
	Apply      Kind = 'A' // a write: changes of the position, and batches
	Checkpoint Kind = 'C' // the whole position
	Mark       Kind = 'M' // nothing but what was synced
)

// String is the kind in words.
func (k Kind) String() string {
	if name := kindNames[k]; name != "" {
		return name
	}
	return fmt.Sprintf("kind %d", byte(k))
}

var kindNames = map[Kind]string{Apply: "apply", Checkpoint: "checkpoint", Mark: "mark"}

// Flags of a frame.
const (
	Whole      = 1 // the position replaces the one before
	Membership = 2 // the position's membership counts
	flagsKnown = Whole | Membership
)

// Place is where a frame is. Its checksum binds the frame to it, so that bytes
// that belong elsewhere are never taken for a frame.
type Place struct {
	Bound pinetree.GroupID // the group that wrote it first
	At    Offset
}

// Header is a frame's header, decoded.
type Header struct {
	Kind    Kind
	Flags   byte
	Head    int
	Body    int // length of all batches
	Batches int
	Synced  Offset
	headSum uint32
}

// Size of the frame in the file.
func (h Header) Size() int64 {
	return (HeaderBytes + int64(h.Head) + int64(h.Body) + 1 + Align - 1) / Align * Align
}

// padding is what ends a frame: as much of its end as is needed.
var padding = [Align]byte{Align - 1: endMark}

// Tail is the end of a frame after its batches.
func (h Header) Tail() []byte {
	return padding[Align-(h.Size()-HeaderBytes-int64(h.Head)-int64(h.Body)):]
}

// Seal fills in the header at the start of a frame, of which header and head
// are there.
func Seal(frame []byte, at Place, h Header) {
	le := binary.LittleEndian
	le.PutUint32(frame[4:], crc32.Checksum(frame[HeaderBytes:], storepb.Castagnoli))
	le.PutUint32(frame[8:], uint32(h.Head))
	le.PutUint32(frame[12:], uint32(h.Body))
	le.PutUint32(frame[16:], uint32(h.Batches))
	le.PutUint64(frame[20:], uint64(h.Synced))
	frame[28], frame[29], frame[30], frame[31] = h.Flags, 0, 0, byte(h.Kind)
	le.PutUint32(frame, headerChecksum(frame, at))
}

func headerChecksum(frame []byte, at Place) uint32 {
	var b [16 + HeaderBytes - 4]byte
	binary.LittleEndian.PutUint64(b[:], uint64(at.Bound))
	binary.LittleEndian.PutUint64(b[8:], uint64(at.At))
	copy(b[16:], frame[4:HeaderBytes])
	return crc32.Checksum(b[:], storepb.Castagnoli)
}

// ReadHeader decodes the header at the start of data. What is wrong with it is
// told in words.
func ReadHeader(data []byte, at Place) (h Header, wrong string) {
	if len(data) < HeaderBytes {
		return h, "the file ends in a frame's header"
	}
	if data[31] == 0 {
		return h, "there is no frame's header"
	}
	le := binary.LittleEndian
	if got, want := headerChecksum(data, at), le.Uint32(data); got != want {
		return h, fmt.Sprintf("CRC32C of the frame's header is %08x, should be %08x", got, want)
	}
	head, body := le.Uint32(data[8:]), le.Uint32(data[12:])
	h = Header{
		Kind: Kind(data[31]), Flags: data[28], Head: int(head), Body: int(body), Batches: int(le.Uint32(data[16:])),
		Synced: Offset(le.Uint64(data[20:])), headSum: le.Uint32(data[4:]),
	}
	switch {
	case kindNames[h.Kind] == "" || h.Flags&^flagsKnown != 0:
		return h, fmt.Sprintf("a frame of kind %d with flags %d, which this build does not know", h.Kind, h.Flags)
	case head > MaxPart || body > MaxPart:
		return h, fmt.Sprintf("a frame of %d and %d bytes, the limit is %d", head, body, MaxPart)
	case h.Synced < 0 || h.Synced > at.At:
		return h, fmt.Sprintf("a frame at offset %d of the log says that it was synced up to %d", at.At, h.Synced)
	}
	return h, ""
}
