package lsm

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// runBytes is how much is read before fn is called with it, so that no
// iterator, which keeps the database from dropping files and Close from
// closing, is held while fn waits for a slow receiver.
const runBytes = 1 << 20

// snapshot is a state of a group. It needs no snapshot of the database: what is
// at or below the LSNs of its position never changes while its generation is
// the one in use, and nothing is trimmed before it is closed.
//
// The bodies of its chunks are the group's entries in the order of their keys, but
// those of metadata at the end, none cut between two chunks:
//
//	uvarint(length), key after the generation; uvarint(length), number of chunks and value
//
// The checksum of a stored value covers its key, generation included, so it is
// checked before and made anew after; on the way the chunk has its own.
type snapshot struct {
	group   *group
	state   *state
	closing sync.Once
}

// Snapshot implements engine.Store.
func (s *Store) Snapshot(id pinetree.GroupID) (engine.Snapshot, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	g, err := s.group(id)
	if err != nil {
		return nil, err
	}
	g.trimming.mu.Lock()
	defer g.trimming.mu.Unlock()
	g.trimming.snapshots++
	return &snapshot{group: g, state: g.state.Load()}, nil
}

// Position implements engine.Snapshot.
func (s *snapshot) Position() pinetree.Position { return s.state.position }

// Close implements engine.Snapshot.
func (s *snapshot) Close() error {
	s.closing.Do(func() {
		s.group.trimming.mu.Lock()
		s.group.trimming.snapshots--
		s.group.trimming.mu.Unlock()
		s.group.store.dropper.kick() // for what waited
	})
	return nil
}

// Chunks implements engine.Snapshot. It fails with pinetree.ErrStopped when a
// restore replaced the state meanwhile.
func (s *snapshot) Chunks(fn func([]byte) error) error {
	w := engine.NewChunkWriter(engine.StreamOf(s.group.store.traits.Name, s.state.position), fn)
	logs := layout.NewLogCheck(s.state.position)
	run := make([]byte, 0, runBytes)
	for next := layout.GenerationKey(layout.DataKey, s.group.id, s.state.generation); next != nil; {
		var ends []int
		var err error
		if run, ends, next, err = s.run(run[:0], next, logs); err != nil {
			return err
		}
		first := 0
		for _, end := range ends {
			if w.Free() < end-first {
				if err := w.Cut(); err != nil {
					return err
				}
			}
			if _, err := w.Write(run[first:end]); err != nil {
				return err
			}
			first = end
		}
	}
	if err := logs.End(); err != nil {
		return err
	}
	err := s.metaItems(func(key, value []byte) error {
		run = layout.AppendItem(run[:0], key, value)
		if w.Free() < len(run) {
			if err := w.Cut(); err != nil {
				return err
			}
		}
		_, err := w.Write(run)
		return err
	})
	if err != nil {
		return err
	}
	return w.End()
}

// run appends the entries from a key on to buf, about runBytes of them, and
// returns where each ends and the key to go on with, nil after the last one.
func (s *snapshot) run(buf, from []byte, logs *layout.LogCheck) (run []byte, ends []int, next []byte, err error) {
	if err := s.group.enter(); err != nil {
		return nil, nil, nil, err
	}
	defer s.group.leave()
	if s.group.state.Load().generation != s.state.generation {
		return nil, nil, nil, fmt.Errorf("%w: the state of group %d was replaced by that of another replica; take a new snapshot", pinetree.ErrStopped, s.group.id)
	}
	prefix := layout.GenerationKey(layout.DataKey, s.group.id, s.state.generation)
	err = s.group.store.db.Scan(prefix, func(it sorted.Iterator) error {
		for it.Seek(from); it.Valid(); it.Next() {
			key := it.Key()
			if len(buf) >= runBytes {
				next = bytes.Clone(key)
				return nil
			}
			at, err := layout.ParseDataKey(key[len(prefix):])
			if err != nil {
				return err
			}
			if at.Kind == layout.MetaKind || at.LSN > s.state.position.Volumes[at.Volume].LSN {
				continue // it comes at the end, or is of a write that came later, or never became whole
			}
			err = it.Value(func(raw []byte) error {
				if _, _, err := layout.OpenChunk(key, raw); err != nil {
					return err
				}
				if err := logs.See(at, raw[layout.ChecksumBytes:]); err != nil {
					return err
				}
				buf = layout.AppendItem(buf, key[len(prefix):], raw[layout.ChecksumBytes:])
				ends = append(ends, len(buf))
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return buf, ends, next, err
}
