package frame

import (
	"fmt"
	"hash/crc32"

	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Damage tells by what the bytes at the end of the newest segment's good
// frames show that they are not a torn write, or "" when they may be one, or
// what was in the file before. The rules are in the package comment of
// segment.
func Damage(data []byte, end Place) string {
	for offset := end.Offset + Align; offset < int64(len(data)); offset += Align {
		if h, ok := readHeader(data[offset:], Place{end.Segment, offset}); ok && h.Synced > end.Offset {
			return fmt.Sprintf("the frame at offset %d was written when everything up to %d was synced", offset, h.Synced)
		}
	}
	return flipped(data[end.Offset:], end)
}

// flipped tells what single bit is wrong in the frame that rest begins with,
// or "" when it is more than one. A torn frame has old bytes in whole sectors,
// so that it is hardly ever right but for one bit.
func flipped(rest []byte, at Place) string {
	if len(rest) < HeaderBytes {
		return ""
	}
	h, ok := readHeader(rest, at)
	if !ok {
		header := [HeaderBytes]byte(rest)
		for bit := range 8 * HeaderBytes {
			header[bit/8] ^= 1 << (bit % 8)
			if _, ok := readHeader(header[:], at); ok {
				return fmt.Sprintf("its header is right but for one bit at offset %d", at.Offset+int64(bit/8))
			}
			header[bit/8] ^= 1 << (bit % 8)
		}
		return ""
	}
	size := Bytes(h.bodyBytes)
	if size > len(rest) {
		return ""
	}
	body := rest[HeaderBytes:size]
	head := body[:h.headBytes:h.headBytes]
	f := Frame{header: h, At: at, Size: size, head: head, data: body[h.headBytes:h.bodyBytes:h.bodyBytes]}
	if crc32.Checksum(head, storepb.Castagnoli) != h.sum {
		if offByOneBit(head, h.sum) {
			return "its head is right but for one bit"
		}
		return ""
	}
	c, _ := decodeChange(f)
	var bad []Slot
	var badBytes []byte
	for _, s := range c.Slots {
		part := f.data[:s.Bytes()]
		if f.data = f.data[len(part):]; crc32.Checksum(part, storepb.Castagnoli) != s.Sum {
			bad, badBytes = append(bad, s), part
		}
	}
	if len(bad) == 1 && offByOneBit(badBytes, bad[0].Sum) {
		return fmt.Sprintf("all of it is right but for one bit of the entry at offset %d", bad[0].Offset)
	}
	return ""
}

// maxOffByOne bounds the bytes in which one wrong bit is looked for: among
// more of them, a bit that makes torn bytes right is found by chance.
const maxOffByOne = 64 << 10

// offByOneBit tells whether flipping one bit of data gives it that checksum. A
// CRC is linear: what a flipped bit changes in it depends only on how many
// bytes follow.
func offByOneBit(data []byte, sum uint32) bool {
	if len(data) > maxOffByOne {
		return false
	}
	change := crc32.Checksum(data, storepb.Castagnoli) ^ sum
	var bits [8]uint32
	for i := range bits {
		bits[i] = storepb.Castagnoli[1<<i]
	}
	for range data {
		for i, b := range bits {
			if b == change {
				return true
			}
			bits[i] = storepb.Castagnoli[byte(b)] ^ b>>8
		}
	}
	return false
}

// Wipe makes zeroes of every header of the segment's own frames from its end
// on. It returns where the last of them ended, or end when there was none.
func Wipe(data []byte, end Place) int64 {
	last := end.Offset
	for offset := end.Offset; offset < int64(len(data)); offset += Align {
		if _, ok := readHeader(data[offset:], Place{end.Segment, offset}); ok {
			clear(data[offset:][:HeaderBytes])
			last = offset + HeaderBytes
		}
	}
	return last
}
