package badgerengine

// Verify reads everything there is, beside other reads and writes: badger's
// checksum of each block of each table, the checksum of each value, and that
// the log of each volume is whole. A *pinetree.CorruptError names the first
// place that is damaged. Reads check every value that they meet; what they
// cannot see is a value that is missing because its key was damaged.
func (s *Store) Verify() error {
	if err := s.db.Enter(); err != nil {
		return err
	}
	err := s.db.VerifyTables()
	s.db.Leave()
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
		if err := snapshot.Chunks(func([]byte) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}
