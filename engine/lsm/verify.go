package lsm

import "github.com/pinetree-db/pinetree/engine/lsm/sorted"

// Verify reads everything there is, beside other reads and writes: what the
// database itself has checksums of, the checksum of each value, and that the
// log of each volume is whole. A *pinetree.CorruptError names the first
// place that is damaged. Reads check every value that they meet; what they
// cannot see is a value that is missing because its key was damaged.
func (s *Store) Verify() error {
	if err := s.enter(); err != nil {
		return err
	}
	var err error
	if verifier, ok := s.db.(sorted.Verifier); ok {
		err = verifier.Verify()
	}
	s.leave()
	if err != nil {
		return err
	}
	ids, err := s.Groups()
	if err != nil {
		return err
	}
	for _, id := range ids {
		snapshot, err := s.Snapshot(id)
		if err != nil {
			return err
		}
		err = snapshot.Chunks(func([]byte) error { return nil })
		if closing := snapshot.Close(); err == nil {
			err = closing
		}
		if err != nil {
			return err
		}
	}
	return nil
}
