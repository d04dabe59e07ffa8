// Package drops is the notes of what has to go from a database: generations of a
// group's state that are of no more use, or are being restored, and volumes that a
// group has no more. It reads and makes notes and lists of what
// goes, and deletes nothing.
package drops

import (
	"bytes"
	"encoding/binary"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// Note says what has to go. A volume's is stored with the first position that the
// volume is not in; ids of volumes are not used again.
type Note struct {
	Group      pinetree.GroupID
	Generation layout.Generation
	Volume     pinetree.VolumeID // zero when all of the generation has to go
}

// Stem is the key under which the note is stored.
func (n Note) Stem() []byte {
	stem := layout.GenerationKey(layout.DropKey, n.Group, n.Generation)
	if n.Volume != 0 {
		stem = binary.BigEndian.AppendUint64(stem, uint64(n.Volume))
	}
	return stem
}

// Entries store the note.
func (n Note) Entries() ([]sorted.Entry, error) { return layout.AppendValue(nil, n.Stem(), nil) }

// Prefixes are those of all keys that have to go.
func (n Note) Prefixes() [][]byte {
	if n.Volume == 0 {
		return [][]byte{layout.GenerationKey(layout.DataKey, n.Group, n.Generation)}
	}
	metadata := layout.KeysOf(n.Group, n.Generation, 0).Kind(layout.MetaKind)
	return [][]byte{layout.KeysOf(n.Group, n.Generation, n.Volume).All(), binary.BigEndian.AppendUint64(metadata, uint64(n.Volume))}
}

// List reads the notes under a prefix.
func List(db sorted.Database, prefix []byte) (notes []Note, err error) {
	const generation = 1 + 8 + layout.GenerationBytes + layout.ChunkBytes
	err = db.Scan(prefix, func(it sorted.Iterator) error {
		for it.Seek(nil); it.Valid(); it.Next() {
			key := it.Key()
			if len(key) != generation && len(key) != generation+8 {
				return layout.BadChunk(key, "not the note of a generation or a volume")
			}
			be := binary.BigEndian
			n := Note{Group: pinetree.GroupID(be.Uint64(key[1:])), Generation: layout.Generation(be.Uint32(key[9:]))}
			if len(key) > generation {
				n.Volume = pinetree.VolumeID(be.Uint64(key[9+layout.GenerationBytes:]))
			}
			notes = append(notes, n)
		}
		return nil
	})
	return notes, err
}

// maxDeletions bounds what Deletions lists.
const maxDeletions = 4096

// Deletions lists the first keys of a prefix, as removals.
func Deletions(db sorted.Database, prefix []byte) ([]sorted.Entry, error) {
	var gone []sorted.Entry
	err := db.Scan(prefix, func(it sorted.Iterator) error {
		for it.Seek(nil); it.Valid() && len(gone) < maxDeletions; it.Next() {
			gone = append(gone, sorted.Entry{Key: bytes.Clone(it.Key()), Remove: true})
		}
		return nil
	})
	return gone, err
}
