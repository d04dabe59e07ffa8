package layout

import (
	"encoding/binary"

	"github.com/pinetree-db/pinetree"
)

// AppendItem adds an entry to what a chunk of a snapshot carries: a key, without
// what the generations of a group differ in, and a chunk of a value without its
// checksum, each behind its length.
func AppendItem(buf, key, value []byte) []byte {
	buf = append(binary.AppendUvarint(buf, uint64(len(key))), key...)
	return append(binary.AppendUvarint(buf, uint64(len(value))), value...)
}

// CutItem reads an item off the start of a chunk's body. What it returns shares
// the body's memory. One that is cut short is a *pinetree.CorruptError.
func CutItem(body []byte) (key, value, rest []byte, err error) {
	if key, body, err = cutBytes(body); err != nil {
		return nil, nil, nil, err
	}
	value, rest, err = cutBytes(body)
	return key, value, rest, err
}

func cutBytes(body []byte) (part, rest []byte, err error) {
	size, n := binary.Uvarint(body)
	if n <= 0 || size > uint64(len(body)-n) {
		return nil, nil, &pinetree.CorruptError{Where: "chunk of a snapshot", What: "an entry is cut short"}
	}
	end := n + int(size)
	return body[n:end:end], body[end:], nil
}
