package lsm

import (
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/lsm/drops"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
)

// Remove implements engine.Store. On return the group is gone for good; its
// data are deleted in the background.
func (s *Store) Remove(id pinetree.GroupID) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := fmt.Errorf("%w: group %d was removed", pinetree.ErrStopped, id)
	if r := s.restores[id]; r != nil {
		r.end(gone)
	}
	if g := s.groups[id]; g != nil {
		g.failed.Set(gone)
		g.removed.Store(true)
		delete(s.groups, id)
	}
	used, err := s.state(id)
	if used == nil || err != nil {
		return err
	}
	entries, err := s.removal(id, used)
	if err != nil {
		return err
	}
	defer s.dropper.kick()
	if err := s.commitFreeing(entries); err != nil {
		return err
	}
	return s.db.Sync()
}

// removal is the transaction of a removal.
func (s *Store) removal(id pinetree.GroupID, used *state) ([]entry, error) {
	note, err := s.replacement(id, used)
	if err != nil {
		return nil, err
	}
	gone, err := drops.Deletions(s.db, layout.GroupKey(layout.PositionKey, id))
	return append(gone, note...), err
}

// replacement notes that a group's state is to be dropped.
func (s *Store) replacement(id pinetree.GroupID, old *state) ([]entry, error) {
	if old == nil {
		return nil, nil
	}
	return drops.Note{Group: id, Generation: old.generation}.Entries()
}
