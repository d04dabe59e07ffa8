package lsm

import (
	"encoding/binary"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/drops"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// state is what of a group's data counts: which generation, and up to where.
// It is never changed, only replaced.
type state struct {
	generation layout.Generation
	position   pinetree.Position
	meta       engine.Metadata // as of the position; stored record by record
}

// stateEntries is a state as it is stored: the generation's number, big endian,
// and the position.
func stateEntries(id pinetree.GroupID, s *state) ([]entry, error) {
	position, err := storepb.EncodePosition(s.position)
	if err != nil {
		return nil, fmt.Errorf("position of group %d: %w", id, err)
	}
	return layout.AppendValue(nil, layout.GroupKey(layout.PositionKey, id), binary.BigEndian.AppendUint32(nil, uint32(s.generation)), position)
}

// state reads a group's stored state; nil when the group is not there.
func (s *Store) state(id pinetree.GroupID) (*state, error) {
	data, err := s.get(layout.GroupKey(layout.PositionKey, id))
	if err == errNoValue {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(data) < layout.GenerationBytes {
		return nil, layout.BadChunk(layout.GroupKey(layout.PositionKey, id), "%d bytes, less than a generation's number", len(data))
	}
	position, err := storepb.DecodePosition(data[layout.GenerationBytes:])
	if err != nil {
		return nil, err
	}
	return &state{generation: layout.Generation(binary.BigEndian.Uint32(data)), position: position}, nil
}

// freshGeneration is a number that none of a group's generations has, neither
// the one in use nor those that are to be dropped. mu must be held.
func (s *Store) freshGeneration(id pinetree.GroupID, used *state) (layout.Generation, error) {
	var last layout.Generation
	if used != nil {
		last = used.generation
	}
	notes, err := drops.List(s.db, layout.GroupKey(layout.DropKey, id))
	for _, note := range notes {
		last = max(last, note.Generation)
	}
	return last + 1, err
}
