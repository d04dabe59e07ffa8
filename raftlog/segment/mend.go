package segment

import (
	"fmt"
	"hash/crc32"

	"github.com/pinetree-db/pinetree/proto/storepb"
)

// acknowledged tells by what the bytes at the end of the newest segment's good
// frames show that they are not a torn write, or "" when they may be one, or
// what was in the file before. The rules are in the package comment.
func acknowledged(data []byte, end place) string {
	for offset := end.offset + frameAlign; offset < int64(len(data)); offset += frameAlign {
		if h, ok := readHeader(data[offset:], place{end.segment, offset}); ok && h.synced > end.offset {
			return fmt.Sprintf("the frame at offset %d was written when everything up to %d was synced", offset, h.synced)
		}
	}
	return flipped(data[end.offset:], end)
}

// flipped tells what single bit is wrong in the frame that rest begins with,
// or "" when it is more than one. A torn frame has old bytes in whole sectors,
// so that it is hardly ever right but for one bit.
func flipped(rest []byte, at place) string {
	if len(rest) < frameHeaderBytes {
		return ""
	}
	h, ok := readHeader(rest, at)
	if !ok {
		header := [frameHeaderBytes]byte(rest)
		for bit := range 8 * frameHeaderBytes {
			header[bit/8] ^= 1 << (bit % 8)
			if _, ok := readHeader(header[:], at); ok {
				return fmt.Sprintf("its header is right but for one bit at offset %d", at.offset+int64(bit/8))
			}
			header[bit/8] ^= 1 << (bit % 8)
		}
		return ""
	}
	size := frameBytes(h.bodyBytes)
	if size > len(rest) {
		return ""
	}
	body := rest[frameHeaderBytes:size]
	head, padding := body[:h.headBytes:h.headBytes], body[h.bodyBytes:]
	f := frame{header: h, at: at, size: size, head: head, data: body[h.headBytes:h.bodyBytes:h.bodyBytes]}
	if crc32.Checksum(head, storepb.Castagnoli) != h.sum {
		if offByOneBit(head, h.sum) {
			return "its head is right but for one bit"
		}
		return ""
	}
	c, _ := decodeChange(f)
	var bad []slot
	var badBytes []byte
	for _, s := range c.slots {
		part := f.data[:s.bytes()]
		if f.data = f.data[len(part):]; crc32.Checksum(part, storepb.Castagnoli) != s.crc {
			bad, badBytes = append(bad, s), part
		}
	}
	switch {
	case len(bad) == 0 && !allZero(padding):
		return "all of it is right but for what must be zeroes at its end"
	case len(bad) == 1 && offByOneBit(badBytes, bad[0].crc):
		return fmt.Sprintf("all of it is right but for one bit of the entry at offset %d", bad[0].offset)
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

// mend makes what recovery has read of the newest segment surely durable: it
// writes again what no frame proves synced, since after a failed fsync only
// the page cache may have it. Behind it, every header of this segment's own
// frames is made zeroes: the frames of a torn write must not be found once
// others have been written up to them.
func mend(f *segmentFile, data []byte) error {
	last := f.end
	for offset := f.end; offset < int64(len(data)); offset += frameAlign {
		if _, ok := readHeader(data[offset:], place{f.number, offset}); ok {
			clear(data[offset:][:frameHeaderBytes])
			last = offset + frameHeaderBytes
		}
	}
	if f.synced < last {
		if err := f.file.WriteParts([][]byte{data[f.synced:last]}, f.synced); err != nil {
			return fmt.Errorf("mend %s: %w", fileName(f.number), err)
		}
	}
	return f.sync()
}
