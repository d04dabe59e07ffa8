package front

import "encoding/binary"

const (
	headerBytes = 4
	ackBytes    = 8
	// MaxRecord is the largest record, in bytes.
	MaxRecord = chunkBytes / 4
)

// AppendFrame adds one record to frames.
func AppendFrame(frames, record []byte) []byte {
	frames = binary.LittleEndian.AppendUint32(frames, uint32(len(record)))
	return append(frames, record...)
}

// Span walks over whole frames, over at most limit of them when limit is not 0,
// and returns how many there are and how many bytes they take.
func Span(frames []byte, limit int) (records, size int) {
	for len(frames)-size >= headerBytes && (limit == 0 || records < limit) {
		next := size + headerBytes + int(binary.LittleEndian.Uint32(frames[size:]))
		if next > len(frames) {
			break
		}
		records, size = records+1, next
	}
	return records, size
}

// A Counter counts the frames of a stream of bytes that comes in pieces. The
// zero value is at the start of a frame.
type Counter struct {
	Records uint64 // whole frames so far

	header [headerBytes]byte
	have   int // bytes of header
	body   int // bytes of the record that are to come
}

// Add counts one more piece.
func (c *Counter) Add(piece []byte) {
	for len(piece) > 0 {
		if c.have < headerBytes {
			n := copy(c.header[c.have:], piece)
			c.have, piece = c.have+n, piece[n:]
			if c.have < headerBytes {
				return
			}
			c.body = int(binary.LittleEndian.Uint32(c.header[:]))
		}
		n := min(c.body, len(piece))
		c.body, piece = c.body-n, piece[n:]
		if c.body == 0 {
			c.Records, c.have = c.Records+1, 0
		}
	}
}
