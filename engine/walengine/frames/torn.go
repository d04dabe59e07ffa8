package frames

import "bytes"

// Torn tells whether the bytes where a frame should be may be what a crash left
// of a write that was not synced. They begin at that Place of their file and
// are all that the file has from there on. The rules are in the package comment.
func Torn(rest []byte, at Place, physical int64) bool {
	if len(rest) < HeaderBytes || rest[HeaderBytes-1] == 0 {
		return true
	}
	h, wrong := ReadHeader(rest, at)
	if wrong != "" {
		return false
	}
	size := h.Size()
	return size > int64(len(rest)) || rest[size-1] == 0 || hasEmptySector(rest[:size], physical)
}

var emptySector [sectorBytes]byte

// hasEmptySector tells whether one of the file's sectors that are wholly in b
// is zero.
func hasEmptySector(b []byte, physical int64) bool {
	for i := -physical & (sectorBytes - 1); i+sectorBytes <= int64(len(b)); i += sectorBytes {
		if bytes.Equal(b[i:i+sectorBytes], emptySector[:]) {
			return true
		}
	}
	return false
}
