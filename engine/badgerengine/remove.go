package badgerengine

import (
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/pinetree-db/pinetree"
)

// Remove implements engine.Store. The position goes first, together with a
// note that the group is being removed, so that a crash on the way leaves a
// group that is not there and that Open finishes to remove. The keys are
// deleted one by one: badger's DropPrefix would refuse the writes of every
// other group meanwhile.
func (s *Store) Remove(id pinetree.GroupID) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[id]; g != nil {
		g.failed.set(fmt.Errorf("%w: group %d was removed", pinetree.ErrStopped, id))
		g.removed.Store(true)
		delete(s.groups, id)
	}
	entries, err := s.removal(id)
	if err != nil {
		return err
	}
	if err := s.commit(entries); err != nil {
		return err
	}
	return s.purge(id)
}

// removal is the first transaction of a removal.
func (s *Store) removal(id pinetree.GroupID) ([]entry, error) {
	gone, err := s.deletions(groupKey(positionKey, id))
	if err != nil {
		return nil, err
	}
	return appendValue(gone, groupKey(removalKey, id), nil)
}

// purge deletes a group's data and then the note that it has to be done.
func (s *Store) purge(id pinetree.GroupID) error {
	for {
		gone, err := s.deletions(groupKey(dataKey, id))
		if err != nil {
			return err
		}
		if len(gone) == 0 {
			break
		}
		if err := s.commit(gone); err != nil {
			return err
		}
	}
	gone, err := s.deletions(groupKey(removalKey, id))
	if err != nil {
		return err
	}
	return s.commit(gone)
}

// maxDeletions bounds one transaction of a removal.
const maxDeletions = 4096

// deletions lists the first keys of a prefix, as removals.
func (s *Store) deletions(prefix []byte) ([]entry, error) {
	var gone []entry
	err := s.scan(prefix, func(it *badger.Iterator) error {
		for it.Rewind(); it.Valid() && len(gone) < maxDeletions; it.Next() {
			gone = append(gone, entry{key: it.Item().KeyCopy(nil), remove: true})
		}
		return nil
	})
	return gone, err
}
