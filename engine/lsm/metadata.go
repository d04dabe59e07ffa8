package lsm

import (
	"encoding/binary"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

const (
	// What follows the volume in the key of a record.
	changeKey = 'c'
	memoryKey = 'i'
)

// metaPrefix is that of all records of metadata of a generation: those of a volume
// that there cannot be, so that all are found in one place.
func metaPrefix(group pinetree.GroupID, g layout.Generation) []byte {
	return layout.KeysOf(group, g, 0).Kind(layout.MetaKind)
}

// metaStem names a record by what it is of. The length comes before the key, so
// that no key's chunks stand among those of another.
func metaStem(prefix []byte, volume pinetree.VolumeID, r meta.Record) []byte {
	be := binary.BigEndian
	stem := be.AppendUint64(prefix[:len(prefix):len(prefix)], uint64(volume))
	if m := r.Memory; m != nil {
		return be.AppendUint64(append(stem, memoryKey), uint64(m.Index))
	}
	stem = be.AppendUint64(append(stem, changeKey), uint64(r.Change.Modified))
	return append(be.AppendUint16(stem, uint16(len(r.Change.Key))), r.Change.Key...)
}

func appendMeta(entries []entry, prefix []byte, volume pinetree.VolumeID, records []meta.Record) ([]entry, error) {
	for _, r := range records {
		value, err := storepb.EncodeMetaRecord(volume, r)
		if err != nil {
			return nil, err
		}
		if entries, err = layout.AppendValue(entries, metaStem(prefix, volume, r), value); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// appendMetaWrites appends what a write makes of metadata.
func (g *group) appendMetaWrites(entries []entry, old *state, w engine.Write) ([]entry, error) {
	prefix := metaPrefix(g.id, old.generation)
	for _, m := range w.Meta {
		var err error
		if entries, err = appendMeta(entries, prefix, m.Volume, m.Records); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// loadMeta reads the metadata of a state, and lists what is stored in vain.
func (s *Store) loadMeta(id pinetree.GroupID, of *state) ([]engine.MetaGone, error) {
	var loader engine.MetaLoader
	err := s.db.Scan(metaPrefix(id, of.generation), func(it sorted.Iterator) error {
		for it.Seek(nil); it.Valid(); {
			record, err := layout.ReadValue(it)
			if err != nil {
				return err
			}
			if err := loader.Add(record); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var gone []engine.MetaGone
	if of.meta, gone, err = loader.Load(of.position); err != nil {
		return nil, fmt.Errorf("group %d: %w", id, err)
	}
	return gone, nil
}

// metaItems calls fn with the entries of a state's metadata. They are those in
// memory: what is stored may have been compacted since.
func (s *snapshot) metaItems(fn func(key, value []byte) error) error {
	prefix := metaPrefix(s.group.id, s.state.generation)
	skip := len(layout.GenerationKey(layout.DataKey, s.group.id, s.state.generation))
	for id, table := range s.state.meta {
		err := table.Records(func(r meta.Record) error {
			entries, err := appendMeta(nil, prefix, id, []meta.Record{r})
			for _, e := range entries {
				if err == nil {
					err = fn(e.Key[skip:], e.Value[layout.ChecksumBytes:])
				}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// discard notes what the group's metadata has no more as of a state.
func (g *group) discard(of *state, gone []engine.MetaGone) error {
	for _, v := range gone {
		entries, err := appendMeta(nil, metaPrefix(g.id, of.generation), v.Volume, v.Records)
		if err != nil {
			return err
		}
		g.trash.Add(of.position.Index, entries)
	}
	return nil
}

// Meta implements engine.Engine.
func (g *group) Meta(id pinetree.VolumeID) (*meta.Table, error) {
	now := g.state.Load()
	if _, ok := now.position.Volumes[id]; !ok {
		return nil, fmt.Errorf("%w: volume %d is not in group %d", pinetree.ErrUnknownVolume, id, g.id)
	}
	return now.meta.Table(id), nil
}
