package engine

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// MetaWrite is what a Write changes of a volume's metadata.
type MetaWrite struct {
	Volume pinetree.VolumeID
	meta.Delta
}

// Metadata are the tables of a group's volumes, those that are empty left out. It
// never changes, so whoever has it may read it for as long as it likes.
type Metadata map[pinetree.VolumeID]*meta.Table

// Table is that of a volume.
func (m Metadata) Table(id pinetree.VolumeID) *meta.Table {
	if t := m[id]; t != nil {
		return t
	}
	return meta.Empty()
}

// MetaGone are stored records of a volume that its metadata has no more.
type MetaGone struct {
	Volume  pinetree.VolumeID
	Records []meta.Record
}

// Advance is the metadata after a write, and what it has no more of what it had, but
// for what volumes had that the position has no more. A
// write that does not follow, or whose position says something else than it leads
// to, is a *pinetree.CorruptError.
func (m Metadata) Advance(w Write) (Metadata, []MetaGone, error) {
	dropped := func(id pinetree.VolumeID, _ *meta.Table) bool {
		_, there := w.Position.Volumes[id]
		return !there
	}
	if len(w.Meta) == 0 && !m.any(dropped) {
		return m, nil, nil
	}
	next := maps.Clone(m)
	if next == nil {
		next = Metadata{}
	}
	maps.DeleteFunc(next, dropped)
	var gone []MetaGone
	for _, change := range w.Meta {
		table, dropped, err := next.Table(change.Volume).Advance(change.Delta)
		if err != nil {
			return nil, nil, fmt.Errorf("replay of volume %d: %w", change.Volume, err)
		}
		if err := checkTable(change.Volume, w.Position.Volumes[change.Volume], table); err != nil {
			return nil, nil, err
		}
		next[change.Volume] = table
		if len(dropped) > 0 {
			gone = append(gone, MetaGone{Volume: change.Volume, Records: dropped})
		}
	}
	return next, gone, nil
}

func (m Metadata) any(is func(pinetree.VolumeID, *meta.Table) bool) bool {
	for id, table := range m {
		if is(id, table) {
			return true
		}
	}
	return false
}

func checkTable(id pinetree.VolumeID, at pinetree.VolumePosition, t *meta.Table) error {
	if t.Revision() != at.MetaRevision || t.Compacted() != at.MetaCompacted || t.Bytes() != at.MetaBytes {
		return &pinetree.CorruptError{Where: fmt.Sprintf("metadata of volume %d", id), What: fmt.Sprintf(
			"it is at revision %d, compacted up to %d, with %d bytes; the position says %d, %d and %d",
			t.Revision(), t.Compacted(), t.Bytes(), at.MetaRevision, at.MetaCompacted, at.MetaBytes)}
	}
	return nil
}

// MetaRecords are the stored forms of the records of a write.
func MetaRecords(w Write) (records [][]byte, err error) {
	for _, m := range w.Meta {
		for _, r := range m.Records {
			record, err := storepb.EncodeMetaRecord(m.Volume, r)
			if err != nil {
				return nil, err
			}
			records = append(records, record)
		}
	}
	return records, nil
}

// ReadMetaWrites is the Meta of a write from one position to another of which
// MetaRecords made the records.
func ReadMetaWrites(old, next pinetree.Position, records [][]byte) ([]MetaWrite, error) {
	of := map[pinetree.VolumeID][]meta.Record{}
	for _, record := range records {
		id, r, err := storepb.DecodeMetaRecord(record)
		if err != nil {
			return nil, err
		}
		of[id] = append(of[id], r)
	}
	var writes []MetaWrite
	for id, v := range next.Volumes {
		if o := old.Volumes[id]; len(of[id]) == 0 && v.MetaRevision == o.MetaRevision && v.MetaCompacted == o.MetaCompacted {
			continue
		}
		writes = append(writes, MetaWrite{Volume: id, Delta: meta.Delta{Revision: v.MetaRevision, Compacted: v.MetaCompacted, Records: of[id]}})
		delete(of, id)
	}
	for id := range of {
		return nil, misplaced(fmt.Sprintf("metadata of volume %d", id), "the position does not have that volume")
	}
	return writes, nil
}

// Each calls fn with every record that is to be stored of the metadata in its
// stored form, until fn returns an error, which it passes on.
func (m Metadata) Each(fn func(record []byte) error) error {
	for _, id := range slices.Sorted(maps.Keys(m)) {
		err := m[id].Records(func(r meta.Record) error {
			record, err := storepb.EncodeMetaRecord(id, r)
			if err != nil {
				return err
			}
			return fn(record)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Append adds the stored form of all of the metadata to buf, as AppendMetaRecord
// does for each record, and an end.
func (m Metadata) Append(buf []byte) ([]byte, error) {
	err := m.Each(func(record []byte) error {
		buf = AppendMetaRecord(buf, record)
		return nil
	})
	return binary.AppendUvarint(buf, 0), err
}

// AppendMetaRecord adds a stored record and its length to buf.
func AppendMetaRecord(buf, record []byte) []byte {
	return append(binary.AppendUvarint(buf, uint64(len(record))), record...)
}

// MetaLoader makes Metadata of stored records, which it takes in any order. The
// zero MetaLoader is ready. It is used by one goroutine.
type MetaLoader struct {
	volumes map[pinetree.VolumeID]*meta.Loader
}

// Add takes the stored form of a record.
func (l *MetaLoader) Add(record []byte) error {
	id, r, err := storepb.DecodeMetaRecord(record)
	if err != nil {
		return err
	}
	if l.volumes == nil {
		l.volumes = map[pinetree.VolumeID]*meta.Loader{}
	}
	if l.volumes[id] == nil {
		l.volumes[id] = &meta.Loader{}
	}
	l.volumes[id].Add(r)
	return nil
}

// Take takes what Metadata.Append made and returns what follows on it.
func (l *MetaLoader) Take(data []byte) ([]byte, error) {
	for {
		size, n := binary.Uvarint(data)
		if n <= 0 || size > uint64(len(data)-n) {
			return nil, &pinetree.CorruptError{Where: "stored metadata", What: fmt.Sprintf("a record is cut short %d bytes before the end", len(data))}
		}
		record := data[n : n+int(size)]
		data = data[n+int(size):]
		if size == 0 {
			return data, nil
		}
		if err := l.Add(record); err != nil {
			return nil, err
		}
	}
}

// Load makes the metadata as of a position; records of later states are left out.
// It lists those that this state has no more. Metadata that is not what the
// position says is a *pinetree.CorruptError.
func (l *MetaLoader) Load(at pinetree.Position) (Metadata, []MetaGone, error) {
	m := Metadata{}
	var gone []MetaGone
	for _, id := range slices.Sorted(maps.Keys(at.Volumes)) {
		v, loader := at.Volumes[id], l.volumes[id]
		if loader == nil {
			loader = &meta.Loader{}
		}
		table, dropped, err := loader.Table(meta.State{Revision: v.MetaRevision, Compacted: v.MetaCompacted, Index: at.Index})
		if err == nil {
			err = checkTable(id, v, table)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("volume %d: %w", id, err)
		}
		if table.Stored() > 0 || v.MetaRevision > 0 {
			m[id] = table
		}
		if len(dropped) > 0 {
			gone = append(gone, MetaGone{Volume: id, Records: dropped})
		}
	}
	return m, gone, nil
}
