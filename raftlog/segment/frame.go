package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

const (
	fileHeaderBytes  = 32
	fileVersion      = 2
	frameHeaderBytes = 32
	// frameAlign keeps a frame's header within one sector.
	frameAlign  = 32
	sectorBytes = 512
	// maxFrameBody bounds a body, and with it what recovery believes.
	maxFrameBody = 1 << 30
)

var fileMagic = [8]byte{'P', 'T', 'R', 'A', 'F', 'T', 'L', 'G'}

// kind is the letter of a frame. Each differs from zero in several bits, so
// that no single flipped bit makes a header look unwritten.
type kind byte

const (
	kindUpdate     kind = 'U'
	kindCheckpoint kind = 'S'
	kindCompaction kind = 'C'
	kindMoved      kind = 'M'
	kindRemoval    kind = 'R'
	kindProbe      kind = 'P'
	kindSynced     kind = 'K'
	kindEnd        kind = 'E'
)

// kindNames has a name for every kind.
var kindNames = [256]string{
	kindUpdate: "update", kindCheckpoint: "checkpoint", kindCompaction: "compaction", kindMoved: "moved",
	kindRemoval: "removal", kindProbe: "probe", kindSynced: "synced", kindEnd: "end",
}

// place is where a frame is. Its checksum binds the frame to it, so that bytes
// that belong elsewhere, or to what the file was before it was used again, are
// never taken for a frame.
type place struct {
	segment uint64
	offset  int64
}

func (p place) String() string { return fmt.Sprintf("%s offset %d", fileName(p.segment), p.offset) }

// header is a frame's header, decoded.
type header struct {
	kind      kind
	group     pinetree.GroupID
	headBytes int
	bodyBytes int // of the head and the entries' data
	synced    int64
	sum       uint32 // CRC32C of the head
}

// frameBytes is the size of a frame with a body of that many bytes.
func frameBytes(body int) int {
	return (frameHeaderBytes + body + frameAlign - 1) / frameAlign * frameAlign
}

// putHeader fills in the header of the frame whose head follows it in frame.
// Of h, sum is computed.
func putHeader(frame []byte, at place, h header) {
	le := binary.LittleEndian
	head := frame[frameHeaderBytes:][:h.headBytes]
	le.PutUint32(frame[4:], crc32.Checksum(head, storepb.Castagnoli))
	le.PutUint32(frame[8:], uint32(h.bodyBytes))
	le.PutUint32(frame[12:], uint32(h.headBytes))
	le.PutUint64(frame[16:], uint64(h.group))
	le.PutUint32(frame[24:], uint32(h.synced))
	le.PutUint32(frame[28:], uint32(h.kind)<<24)
	le.PutUint32(frame, headerChecksum(frame, at))
}

func headerChecksum(frame []byte, at place) uint32 {
	var b [16 + frameHeaderBytes - 4]byte
	binary.LittleEndian.PutUint64(b[:], at.segment)
	binary.LittleEndian.PutUint64(b[8:], uint64(at.offset))
	copy(b[16:], frame[4:frameHeaderBytes])
	return crc32.Checksum(b[:], storepb.Castagnoli)
}

// readHeader decodes the header at the start of data, if it is one of that
// place.
func readHeader(data []byte, at place) (h header, ok bool) {
	if len(data) < frameHeaderBytes || kindNames[data[31]] == "" {
		return h, false
	}
	le := binary.LittleEndian
	if le.Uint32(data[28:])<<8 != 0 || le.Uint32(data) != headerChecksum(data, at) {
		return h, false
	}
	h = header{
		kind: kind(data[31]), group: pinetree.GroupID(le.Uint64(data[16:])), bodyBytes: int(le.Uint32(data[8:])),
		headBytes: int(le.Uint32(data[12:])), synced: int64(le.Uint32(data[24:])), sum: le.Uint32(data[4:]),
	}
	return h, h.bodyBytes <= maxFrameBody && h.headBytes <= h.bodyBytes
}

// readFrame decodes the frame at the start of data, but for the checksums of
// its entries' data. It returns what is wrong with it, or "". Head and data of
// the frame share data's memory.
func readFrame(data []byte, at place) (f frame, wrong string) {
	h, ok := readHeader(data, at)
	if !ok {
		return f, "frame header fails its checksum"
	}
	f = frame{header: h, at: at, size: frameBytes(h.bodyBytes)}
	if f.size > len(data) {
		return f, fmt.Sprintf("%s frame of %d bytes, %d are in the file", kindNames[h.kind], f.size, len(data))
	}
	body := data[frameHeaderBytes:f.size]
	f.head, f.data = body[:h.headBytes:h.headBytes], body[h.headBytes:h.bodyBytes:h.bodyBytes]
	if got := crc32.Checksum(f.head, storepb.Castagnoli); got != h.sum {
		return f, fmt.Sprintf("%s frame of %d bytes: CRC32C of its head is %08x, should be %08x", kindNames[h.kind], f.size, got, h.sum)
	}
	if !allZero(body[h.bodyBytes:]) {
		return f, fmt.Sprintf("%s frame of %d bytes does not end in zeroes", kindNames[h.kind], f.size)
	}
	return f, ""
}

// zeroes is what files are filled with ahead of the frames.
var zeroes [1 << 20]byte

func allZero(b []byte) bool {
	for len(b) > len(zeroes) {
		if !bytes.Equal(b[:len(zeroes)], zeroes[:]) {
			return false
		}
		b = b[len(zeroes):]
	}
	return bytes.Equal(b, zeroes[:len(b)])
}

// fileHeader is the header of a segment that goes on where the one before it
// ended: at that offset, zero for the first.
func fileHeader(segment uint64, before int64) []byte {
	b := make([]byte, fileHeaderBytes)
	copy(b, fileMagic[:])
	le := binary.LittleEndian
	le.PutUint32(b[8:], fileVersion)
	le.PutUint64(b[16:], segment)
	le.PutUint32(b[24:], uint32(before))
	le.PutUint32(b[28:], crc32.Checksum(b[:28], storepb.Castagnoli))
	return b
}

// readFileHeader tells where the segment before ended, or what is wrong with
// the header of a segment.
func readFileHeader(data []byte, segment uint64) (before int64, wrong string) {
	if len(data) < fileHeaderBytes {
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
