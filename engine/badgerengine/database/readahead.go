package database

import (
	"os"

	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

var _ sorted.ReadAheader = (*DB)(nil)

// ReadAhead implements sorted.ReadAheader: it reads the file of the value log that the
// value is in, and the next one, for them to be in the page cache. Badger reads
// through mappings, a page of memory at a time.
func (d *DB) ReadAhead(start, prefix []byte) {
	var at place
	err := d.scan(prefix, func(it iterator) error {
		if it.Seek(start); it.Valid() {
			at, _ = placeOf(it.Item())
		}
		return nil
	})
	if err != nil || at.file == 0 || at.file == d.ahead {
		return
	}
	d.ahead = at.file
	for file := at.file; file <= at.file+1; file++ {
		readThrough(d.valueFilePath(file))
	}
}

// readThrough reads a file to its end, if it is there and as far as it can be read.
func readThrough(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	for buf := make([]byte, 256<<10); err == nil; {
		_, err = f.Read(buf)
	}
}
