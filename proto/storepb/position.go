package storepb

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
)

// EncodePosition makes the stored form of a position, the same bytes for equal
// positions.
func EncodePosition(p pinetree.Position) ([]byte, error) { return EncodeState(p, nil) }

// EncodeState is EncodePosition with records of metadata, as EncodeMetaRecord makes
// them, beside the position.
func EncodeState(p pinetree.Position, records [][]byte) ([]byte, error) {
	m := &Position{Meta: records, Index: uint64(p.Index), Term: uint64(p.Term), Restored: uint64(p.Restored), Membership: p.Membership}
	for _, id := range slices.Sorted(maps.Keys(p.Volumes)) {
		v := p.Volumes[id]
		stored := &VolumePosition{
			Volume: uint64(id), Lsn: uint64(v.LSN), Base: uint64(v.Base), Truncated: uint64(v.Truncated), Format: uint32(v.Format),
			LogBytes: uint64(v.LogBytes), TruncatedBytes: uint64(v.TruncatedBytes),
			MetaRevision: uint64(v.MetaRevision), MetaCompacted: uint64(v.MetaCompacted), MetaBytes: uint64(v.MetaBytes),
		}
		for _, t := range v.Terms {
			stored.Terms = append(stored.Terms, &TermStart{ComputeTerm: uint64(t.Term), Start: uint64(t.Start)})
		}
		stored.Settings = StoreSettings(v.Settings)
		for _, slot := range v.Slots {
			stored.Slots = append(stored.Slots, StoreSlot(slot))
		}
		m.Volumes = append(m.Volumes, stored)
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// DecodePosition reads the position of what EncodePosition or EncodeState made.
func DecodePosition(data []byte) (pinetree.Position, error) {
	p, _, err := DecodeState(data)
	return p, err
}

// DecodeState reads what EncodeState made.
func DecodeState(data []byte) (pinetree.Position, [][]byte, error) {
	m := &Position{}
	if err := proto.Unmarshal(data, m); err != nil {
		return pinetree.Position{}, nil, &pinetree.CorruptError{Where: "stored position", What: err.Error()}
	}
	p := pinetree.Position{
		Index: pinetree.RaftIndex(m.Index), Term: pinetree.RaftTerm(m.Term), Restored: pinetree.RaftIndex(m.Restored), Membership: m.Membership,
		Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{},
	}
	for _, v := range m.Volumes {
		read := pinetree.VolumePosition{
			LSN: pinetree.LSN(v.Lsn), Base: pinetree.LSN(v.Base), Truncated: pinetree.LSN(v.Truncated), Format: pinetree.Format(v.Format),
			LogBytes: int64(v.LogBytes), TruncatedBytes: int64(v.TruncatedBytes),
			MetaRevision: pinetree.MetaRevision(v.MetaRevision), MetaCompacted: pinetree.MetaRevision(v.MetaCompacted), MetaBytes: int64(v.MetaBytes),
		}
		for _, t := range v.Terms {
			read.Terms = append(read.Terms, pinetree.TermStart{Term: pinetree.ComputeTerm(t.ComputeTerm), Start: pinetree.LSN(t.Start)})
		}
		read.Settings = v.Settings.Read()
		for _, slot := range v.Slots {
			read.Slots = append(read.Slots, slot.Read())
		}
		p.Volumes[pinetree.VolumeID(v.Volume)] = read
	}
	return p, m.Meta, nil
}
