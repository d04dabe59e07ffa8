package lsm

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/pinetree-db/pinetree"
)

// The first byte of a key, and the kind byte within a volume. See doc.go.
const (
	formatKey   = 'f'
	positionKey = 'g'
	dropKey     = 'x'
	dataKey     = 'd'

	logKind  = 'l'
	pageKind = 'p'
	keyKind  = 'k'
)

const (
	// versionBytes is the length of what follows a page's or a key's name: the
	// complement of the LSN. The chunk number comes after it.
	versionBytes    = 8
	chunkBytes      = 1
	generationBytes = 4
)

// generation numbers the states of a group. A restore writes one beside the
// one that is used. None is used a second time while anything of it is left.
type generation uint32

func groupKey(kind byte, group pinetree.GroupID) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, uint64(group))
}

// generationKey is, for dataKey, the prefix of all that belongs to a
// generation, and for dropKey the stem of the note that it has to go.
func generationKey(kind byte, group pinetree.GroupID, g generation) []byte {
	return binary.BigEndian.AppendUint32(groupKey(kind, group), uint32(g))
}

// volumeKeys makes the keys of one volume.
type volumeKeys struct{ prefix []byte }

func keysOf(group pinetree.GroupID, g generation, volume pinetree.VolumeID) volumeKeys {
	return volumeKeys{prefix: binary.BigEndian.AppendUint64(generationKey(dataKey, group, g), uint64(volume))}
}

// kind is the prefix of all keys of a kind. The result has room to grow.
func (k volumeKeys) kind(kind byte) []byte {
	buf := make([]byte, 0, len(k.prefix)+1+8+versionBytes+chunkBytes)
	return append(append(buf, k.prefix...), kind)
}

// batch is the stem of a log batch that ends at an LSN.
func (k volumeKeys) batch(lsn pinetree.LSN) []byte {
	return binary.BigEndian.AppendUint64(k.kind(logKind), uint64(lsn))
}

// page is the prefix of all versions of a page.
func (k volumeKeys) page(page pinetree.PageNo) []byte {
	return binary.BigEndian.AppendUint64(k.kind(pageKind), uint64(page))
}

// key is the prefix of all versions of a key. The terminator sorts below
// whatever an escaped key goes on with, so keys are in byte order.
func (k volumeKeys) key(key []byte) []byte {
	return append(appendEscaped(k.kind(keyKind), key), 0, 1)
}

func appendEscaped(buf, key []byte) []byte {
	for _, c := range key {
		buf = append(buf, c)
		if c == 0 {
			buf = append(buf, 0xFF)
		}
	}
	return buf
}

// version adds the complement of an LSN to the name of a page or a key.
func version(name []byte, lsn pinetree.LSN) []byte {
	return binary.BigEndian.AppendUint64(name, ^uint64(lsn))
}

// versionLSN reads the LSN back out of a chunk's key.
func versionLSN(name, chunk []byte) (pinetree.LSN, error) {
	if len(chunk) != len(name)+versionBytes+chunkBytes {
		return 0, &pinetree.CorruptError{Where: fmt.Sprintf("key %x", chunk), What: "not a version of " + fmt.Sprintf("%x", name)}
	}
	return pinetree.LSN(^binary.BigEndian.Uint64(chunk[len(name):])), nil
}

// splitKey reads the name of a key, as the prefix of its versions and as the
// bytes that it was given by, out of a chunk's key.
func splitKey(kindPrefix, chunk []byte) (name, key []byte, err error) {
	rest := chunk[len(kindPrefix):]
	for {
		i := bytes.IndexByte(rest, 0)
		if i < 0 || i+1 >= len(rest) {
			return nil, nil, &pinetree.CorruptError{Where: fmt.Sprintf("key %x", chunk), What: "it has no end"}
		}
		key = append(key, rest[:i]...)
		escape := rest[i+1]
		rest = rest[i+2:]
		switch escape {
		case 1:
			return chunk[:len(chunk)-len(rest)], key, nil
		case 0xFF:
			key = append(key, 0)
		default:
			return nil, nil, &pinetree.CorruptError{Where: fmt.Sprintf("key %x", chunk), What: fmt.Sprintf("escape %02x", escape)}
		}
	}
}

// after is the first key that does not begin with the prefix, which is never
// all FF because it begins with a letter.
func after(prefix []byte) []byte {
	next := bytes.TrimRight(bytes.Clone(prefix), "\xFF")
	next[len(next)-1]++
	return next
}
