package frame

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

const (
	// FileHeaderBytes is the size of a file's header.
	FileHeaderBytes = 32
	fileVersion     = 2
	// HeaderBytes is the size of a frame's header.
	HeaderBytes = 32
	// Align keeps a frame's header within one sector.
	Align = 32
	// maxFrameBody bounds a body, and with it what recovery believes.
	maxFrameBody = 1 << 30
)

var fileMagic = [8]byte{'P', 'T', 'R', 'A', 'F', 'T', 'L', 'G'}

// Kind is the letter of a frame. Each differs from zero in several bits, so
// that no single flipped bit makes a header look unwritten.
type Kind byte

// The kinds of frames. The package comment of segment tells what they do.
const (
	Update     Kind = 'U'
	Checkpoint Kind = 'S'
	Compaction Kind = 'C'
	Moved      Kind = 'M'
	Removal    Kind = 'R'
	Probe      Kind = 'P'
	Synced     Kind = 'K'
	End        Kind = 'E'
)

// String is the kind's name.
func (k Kind) String() string { return kindNames[k] }

// kindNames has a name for every kind.
var kindNames = [256]string{
	Update: "update", Checkpoint: "checkpoint", Compaction: "compaction", Moved: "moved",
	Removal: "removal", Probe: "probe", Synced: "synced", End: "end",
}

// FileSuffix is how the name of a segment ends.
const FileSuffix = ".raftlog"

// FileName is the name of a segment.
func FileName(segment uint64) string { return fmt.Sprintf("%016d%s", segment, FileSuffix) }

// Place is where a frame is. Its checksum binds the frame to it, so that bytes
// that belong elsewhere, or to what the file was before it was used again, are
// never taken for a frame.
type Place struct {
	Segment uint64
	Offset  int64
}

// String names file and offset.
func (p Place) String() string { return fmt.Sprintf("%s offset %d", FileName(p.Segment), p.Offset) }

// header is a frame's header, decoded.
type header struct {
	Kind      Kind
	Group     pinetree.GroupID
	headBytes int
	bodyBytes int    // of the head and the entries' data
	Synced    int64  // the file was surely durable up to here when the frame was written
	sum       uint32 // CRC32C of the head
}

// Bytes is the size of a frame with a body of that many bytes.
func Bytes(body int) int {
	return (HeaderBytes + body + Align - 1) / Align * Align
}

// putHeader fills in the header of the frame whose head follows it in frame.
// Of h, sum is computed.
func putHeader(frame []byte, at Place, h header) {
	le := binary.LittleEndian
	head := frame[HeaderBytes:][:h.headBytes]
	le.PutUint32(frame[4:], crc32.Checksum(head, storepb.Castagnoli))
	le.PutUint32(frame[8:], uint32(h.bodyBytes))
	le.PutUint32(frame[12:], uint32(h.headBytes))
	le.PutUint64(frame[16:], uint64(h.Group))
	le.PutUint32(frame[24:], uint32(h.Synced))
	le.PutUint32(frame[28:], uint32(h.Kind)<<24)
	le.PutUint32(frame, headerChecksum(frame, at))
}

func headerChecksum(frame []byte, at Place) uint32 {
	var b [16 + HeaderBytes - 4]byte
	binary.LittleEndian.PutUint64(b[:], at.Segment)
	binary.LittleEndian.PutUint64(b[8:], uint64(at.Offset))
	copy(b[16:], frame[4:HeaderBytes])
	return crc32.Checksum(b[:], storepb.Castagnoli)
}

// Empty is a frame without a body at a place, in a file that is synced up to
// that offset.
func Empty(k Kind, at Place, synced int64) []byte {
	b := make([]byte, HeaderBytes)
	putHeader(b, at, header{Kind: k, Synced: synced})
	return b
}

// readHeader decodes the header at the start of data, if it is one of that
// place.
func readHeader(data []byte, at Place) (h header, ok bool) {
	if len(data) < HeaderBytes || kindNames[data[31]] == "" {
		return h, false
	}
	le := binary.LittleEndian
	if le.Uint32(data[28:])<<8 != 0 || le.Uint32(data) != headerChecksum(data, at) {
		return h, false
	}
	h = header{
		Kind: Kind(data[31]), Group: pinetree.GroupID(le.Uint64(data[16:])), bodyBytes: int(le.Uint32(data[8:])),
		headBytes: int(le.Uint32(data[12:])), Synced: int64(le.Uint32(data[24:])), sum: le.Uint32(data[4:]),
	}
	return h, h.bodyBytes <= maxFrameBody && h.headBytes <= h.bodyBytes
}

// readFrame decodes the frame at the start of data, but for the checksums of
// its entries' data. It returns what is wrong with it, or "". Head and data of
// the frame share data's memory.
func readFrame(data []byte, at Place) (f Frame, wrong string) {
	h, ok := readHeader(data, at)
	if !ok {
		return f, "frame header fails its checksum"
	}
	f = Frame{header: h, At: at, Size: Bytes(h.bodyBytes)}
	if f.Size > len(data) {
		return f, fmt.Sprintf("%s frame of %d bytes, %d are in the file", h.Kind, f.Size, len(data))
	}
	body := data[HeaderBytes:f.Size]
	f.head, f.data = body[:h.headBytes:h.headBytes], body[h.headBytes:h.bodyBytes:h.bodyBytes]
	if got := crc32.Checksum(f.head, storepb.Castagnoli); got != h.sum {
		return f, fmt.Sprintf("%s frame of %d bytes: CRC32C of its head is %08x, should be %08x", h.Kind, f.Size, got, h.sum)
	}
	return f, ""
}

// Zeroes is what files are filled with ahead of the frames.
var Zeroes [1 << 20]byte

// FileHeader is the header of a segment that goes on where the one before it
// ended: at that offset, zero for the first.
func FileHeader(segment uint64, before int64) []byte {
	b := make([]byte, FileHeaderBytes)
	copy(b, fileMagic[:])
	le := binary.LittleEndian
	le.PutUint32(b[8:], fileVersion)
	le.PutUint64(b[16:], segment)
	le.PutUint32(b[24:], uint32(before))
	le.PutUint32(b[28:], crc32.Checksum(b[:28], storepb.Castagnoli))
	return b
}

// ReadFileHeader tells where the segment before ended, or what is wrong with
// the header of a segment.
func ReadFileHeader(data []byte, segment uint64) (before int64, wrong string) {
	if len(data) < FileHeaderBytes {
		return 0, fmt.Sprintf("%d bytes, less than a file header", len(data))
	}
	le := binary.LittleEndian
	if !bytes.Equal(data[:8], fileMagic[:]) {
		return 0, "not a raft log segment: the magic is wrong"
	}
	if le.Uint32(data[28:]) != crc32.Checksum(data[:28], storepb.Castagnoli) {
		return 0, "file header fails its checksum"
	}
	if v := le.Uint32(data[8:]); v != fileVersion {
		return 0, fmt.Sprintf("version %d, this build reads %d; open it with the build that wrote it", v, fileVersion)
	}
	if got := le.Uint64(data[16:]); got != segment {
		return 0, fmt.Sprintf("its header says segment %d; was the file renamed?", got)
	}
	return int64(le.Uint32(data[24:])), ""
}
