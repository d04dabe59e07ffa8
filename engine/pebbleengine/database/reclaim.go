package database

// Reclaim implements sorted.Reclaimer. Pebble gives space back by itself, but what
// was removed counts only once that is in a table: the memtable becomes one.
func (d *DB) Reclaim(dropped bool, _ func() error) error {
	if !dropped {
		return nil
	}
	if err := d.checkSpace(true); err != nil {
		return err
	}
	if err := caught(d.pebble.Flush); err != nil {
		d.fail(err)
	}
	return d.Failed()
}
