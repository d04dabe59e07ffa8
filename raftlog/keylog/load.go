package keylog

import (
	"encoding/binary"
	"fmt"

	"github.com/pinetree-db/pinetree"
)

// load reads all groups' logs, but for the data, and deletes what is garbage.
func (s *Store) load() error {
	if err := s.checkFormat(); err != nil {
		return err
	}
	err := s.db.Scan([]byte{keyState}, []byte{keyState + 1}, func(key, value []byte) error {
		group, ok := readStateKey(key)
		if !ok {
			return corrupt(key, "not the key of a group's state")
		}
		rest, err := unseal(key, value)
		if err != nil {
			return err
		}
		g := &groupLog{}
		if g.hard, g.start, ok = readState(rest); !ok {
			return corrupt(key, "not the state of a group")
		}
		s.groups[group] = g
		return nil
	})
	if err != nil {
		return err
	}
	dead := map[pinetree.GroupID]uint64{} // up to and including
	err = s.db.Scan([]byte{keyEntry}, []byte{keyEntry + 1}, func(key, value []byte) error {
		return s.loadEntry(key, value, dead)
	})
	if err != nil {
		return err
	}
	for group, last := range dead {
		s.erase(group, span{0, last + 1})
	}
	for group, g := range s.groups {
		s.top[group] = g.last()
	}
	// After a failed sync the database may show what the disk does not have.
	s.put(Change{Key: []byte{keyFormat}, Value: []byte{formatVersion}})
	return s.flush(true)
}

func (s *Store) checkFormat() error {
	return s.db.Scan([]byte{keyFormat}, []byte{keyFormat, 0}, func(key, value []byte) error {
		if version, n := binary.Uvarint(value); n <= 0 || version != formatVersion {
			return fmt.Errorf("raft log of layout %x, this build reads %d; open it with the build that wrote it", value, formatVersion)
		}
		return nil
	})
}

// loadEntry takes the first piece of an entry into its group's log.
func (s *Store) loadEntry(key, value []byte, dead map[pinetree.GroupID]uint64) error {
	group, index, piece, ok := readEntryKey(key)
	if !ok {
		return corrupt(key, "not the key of an entry")
	}
	g := s.groups[group]
	if g == nil || index < g.first() {
		dead[group] = index
		return nil
	}
	rest, err := unseal(key, value)
	if err != nil {
		return err
	}
	term, _, _, ok := readPiece(rest)
	switch {
	case !ok:
		return corrupt(key, "not an entry")
	case piece > 0 && index == g.last():
		return nil
	case piece > 0 || index != g.last()+1:
		return corrupt(key, fmt.Sprintf("piece %d of entry %d of group %d follows on entry %d", piece, index, group, g.last()))
	}
	g.terms = append(g.terms, term)
	return nil
}
