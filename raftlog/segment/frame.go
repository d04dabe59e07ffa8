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
	fileVersion      = 1
	frameHeaderBytes = 32
	// frameAlign keeps a frame's header within one sector.
	frameAlign  = 32
	sectorBytes = 512
	endMark     = 0xED
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
)

var kindNames = map[kind]string{
	kindUpdate: "update", kindCheckpoint: "checkpoint", kindCompaction: "compaction",
	kindMoved: "moved", kindRemoval: "removal", kindProbe: "probe",
}

// place is where a frame is. Its checksum binds the frame to it, so that bytes
// that belong elsewhere are never taken for a frame.
type place struct {
	segment uint64
	offset  int64
}

func (p place) String() string { return fmt.Sprintf("%s offset %d", fileName(p.segment), p.offset) }

// header is a frame's header, decoded.
type header struct {
	kind   kind
	group  pinetree.GroupID
	length int
	zeroes int
	synced int64
	body   uint32 // CRC32C of what follows the header
}

// frameBytes is the size of a frame with a body of that many bytes.
func frameBytes(body int) int {
	return (frameHeaderBytes + body + 1 + frameAlign - 1) / frameAlign * frameAlign
}

// sealFrame completes the frame that begins at buf[start:] with room for its
// header and ends with its body: it appends the padding and fills in the
// header. Of h, length, zeroes and body are computed.
func sealFrame(buf []byte, start int, at place, h header) []byte {
	length := len(buf) - start - frameHeaderBytes
	buf = append(buf, zeroes[:frameBytes(length)-frameHeaderBytes-length-1]...)
	buf = append(buf, endMark)
	frame := buf[start:]
	le := binary.LittleEndian
	le.PutUint32(frame[4:], crc32.Checksum(frame[frameHeaderBytes:], storepb.Castagnoli))
	le.PutUint32(frame[8:], uint32(length))
	le.PutUint64(frame[16:], uint64(h.group))
	le.PutUint32(frame[24:], uint32(h.synced))
	le.PutUint32(frame[28:], uint32(h.kind)<<24)
	le.PutUint32(frame[12:], uint32(zeroPieces(frame, at.offset)))
	le.PutUint32(frame, headerChecksum(frame, at))
	return buf
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
	if len(data) < frameHeaderBytes || kindNames[kind(data[31])] == "" {
		return h, false
	}
	le := binary.LittleEndian
	if le.Uint32(data) != headerChecksum(data, at) {
		return h, false
	}
	h = header{
		kind: kind(data[31]), group: pinetree.GroupID(le.Uint64(data[16:])), length: int(le.Uint32(data[8:])),
		zeroes: int(le.Uint32(data[12:])), synced: int64(le.Uint32(data[24:])), body: le.Uint32(data[4:]),
	}
	return h, h.length <= maxFrameBody
}

// readFrame decodes the frame at the start of data. It returns its size in the
// file, or what is wrong with it. The body shares data's memory.
func readFrame(data []byte, at place) (h header, body []byte, size int, wrong string) {
	h, ok := readHeader(data, at)
	if !ok {
		return h, nil, 0, "frame header fails its checksum"
	}
	size = frameBytes(h.length)
	if size > len(data) {
		return h, nil, 0, fmt.Sprintf("%s frame of %d bytes, %d are in the file", kindNames[h.kind], size, len(data))
	}
	rest := data[frameHeaderBytes:size]
	if got := crc32.Checksum(rest, storepb.Castagnoli); got != h.body {
		return h, nil, 0, fmt.Sprintf("%s frame of %d bytes: CRC32C is %08x, should be %08x", kindNames[h.kind], size, got, h.body)
	}
	if rest[len(rest)-1] != endMark {
		return h, nil, 0, fmt.Sprintf("%s frame of %d bytes has no end mark", kindNames[h.kind], size)
	}
	return h, rest[:h.length:h.length], size, ""
}

// zeroPieces counts the pieces of a frame, cut at multiples of a sector in its
// file, that are all zero.
func zeroPieces(frame []byte, offset int64) int {
	count := 0
	for len(frame) > 0 {
		n := min(sectorBytes-int(offset%sectorBytes), len(frame))
		if allZero(frame[:n]) {
			count++
		}
		frame, offset = frame[n:], offset+int64(n)
	}
	return count
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

func fileHeader(segment uint64) []byte {
	b := make([]byte, fileHeaderBytes)
	copy(b, fileMagic[:])
	le := binary.LittleEndian
	le.PutUint32(b[8:], fileVersion)
	le.PutUint64(b[16:], segment)
	le.PutUint32(b[28:], crc32.Checksum(b[:28], storepb.Castagnoli))
	return b
}

// checkFileHeader tells what is wrong with the header of a segment, or "".
func checkFileHeader(data []byte, segment uint64) string {
	if len(data) < fileHeaderBytes {
		return fmt.Sprintf("%d bytes, less than a file header", len(data))
	}
	le := binary.LittleEndian
	if !bytes.Equal(data[:8], fileMagic[:]) {
		return "not a raft log segment: the magic is wrong"
	}
	if le.Uint32(data[28:]) != crc32.Checksum(data[:28], storepb.Castagnoli) {
		return "file header fails its checksum"
	}
	if v := le.Uint32(data[8:]); v != fileVersion {
		return fmt.Sprintf("version %d, this build reads %d", v, fileVersion)
	}
	if got := le.Uint64(data[16:]); got != segment {
		return fmt.Sprintf("its header says segment %d; was the file renamed?", got)
	}
	return ""
}
