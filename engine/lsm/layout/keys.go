package layout

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/pinetree-db/pinetree"
)

// The first byte of a key, and the kind byte within a volume. See package lsm.
const (
	FormatKey   = 'f'
	PositionKey = 'g'
	DropKey     = 'x'
	DataKey     = 'd'

	LogKind  = 'l'
	PageKind = 'p'
	KeyKind  = 'k'
	MetaKind = 'm'
)

// The first byte of a key's version.
const (
	PresentVersion = 1
	AbsentVersion  = 2
)

const (
	// versionBytes is the length of what follows a page's or a key's name: the
	// complement of the LSN.
	versionBytes = 8
	// ChunkBytes is the length of the chunk's number, at the end of each key.
	ChunkBytes = 1
	// GenerationBytes is the length of a generation's number in a key.
	GenerationBytes = 4
)

// Generation numbers the states of a group. A restore writes one beside the
// one that is used. None is used a second time while anything of it is left.
type Generation uint32

// GroupKey is the key of a kind that belongs to a group.
func GroupKey(kind byte, group pinetree.GroupID) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, uint64(group))
}

// GenerationKey is, for DataKey, the prefix of all that belongs to a
// generation, and for DropKey the stem of the note that it has to go.
func GenerationKey(kind byte, group pinetree.GroupID, g Generation) []byte {
	return binary.BigEndian.AppendUint32(GroupKey(kind, group), uint32(g))
}

// VolumeKeys makes the keys of one volume.
type VolumeKeys struct{ prefix []byte }

// KeysOf makes the keys of a volume in a generation of a group's state.
func KeysOf(group pinetree.GroupID, g Generation, volume pinetree.VolumeID) VolumeKeys {
	return VolumeKeys{prefix: binary.BigEndian.AppendUint64(GenerationKey(DataKey, group, g), uint64(volume))}
}

// All is the prefix of all keys of the volume but those of its metadata.
func (k VolumeKeys) All() []byte { return k.prefix[:len(k.prefix):len(k.prefix)] }

// Kind is the prefix of all keys of a kind. The result has room to grow.
func (k VolumeKeys) Kind(kind byte) []byte {
	buf := make([]byte, 0, len(k.prefix)+1+8+versionBytes+ChunkBytes)
	return append(append(buf, k.prefix...), kind)
}

// Batch is the stem of a log batch that ends at an LSN.
func (k VolumeKeys) Batch(lsn pinetree.LSN) []byte {
	return binary.BigEndian.AppendUint64(k.Kind(LogKind), uint64(lsn))
}

// Page is the prefix of all versions of a page.
func (k VolumeKeys) Page(page pinetree.PageNo) []byte {
	return binary.BigEndian.AppendUint64(k.Kind(PageKind), uint64(page))
}

// Key is the prefix of all versions of a key. The terminator sorts below
// whatever an escaped key goes on with, so keys are in byte order.
func (k VolumeKeys) Key(key []byte) []byte {
	return append(AppendEscaped(k.Kind(KeyKind), key), 0, 1)
}

// AppendEscaped appends a key such that it can be followed by anything.
func AppendEscaped(buf, key []byte) []byte {
	for _, c := range key {
		buf = append(buf, c)
		if c == 0 {
			buf = append(buf, 0xFF)
		}
	}
	return buf
}

// Version adds the complement of an LSN to the name of a page or a key.
func Version(name []byte, lsn pinetree.LSN) []byte {
	return binary.BigEndian.AppendUint64(name, ^uint64(lsn))
}

// VersionLSN reads the LSN back out of a chunk's key.
func VersionLSN(name, chunk []byte) (pinetree.LSN, error) {
	if len(chunk) != len(name)+versionBytes+ChunkBytes {
		return 0, &pinetree.CorruptError{Where: fmt.Sprintf("key %x", chunk), What: "not a version of " + fmt.Sprintf("%x", name)}
	}
	return pinetree.LSN(^binary.BigEndian.Uint64(chunk[len(name):])), nil
}

// SplitKey reads the name of a key, as the prefix of its versions and as the
// bytes that it was given by, out of a chunk's key.
func SplitKey(kindPrefix, chunk []byte) (name, key []byte, err error) {
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

// After is the first key that does not begin with the prefix, which is never
// all FF because it begins with a letter.
func After(prefix []byte) []byte {
	next := bytes.TrimRight(bytes.Clone(prefix), "\xFF")
	next[len(next)-1]++
	return next
}
