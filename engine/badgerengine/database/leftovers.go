package database

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// dropEmptyFiles removes memtable and value log files without a byte in them.
// Badger creates such a file and gives it its size in a second step; a process
// that is killed in between leaves a file that badger itself refuses to open,
// and with it the whole database. An empty file holds nothing that was ever
// acknowledged. It is done under badger's own lock, which is one on the
// directory, so that nobody's file of this moment is taken for a leftover.
func dropEmptyFiles(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("the directory is in use by another store or process: %w", err)
	}
	files, err := d.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, file := range files {
		if ext := filepath.Ext(file.Name()); ext != ".mem" && ext != ".vlog" {
			continue
		}
		info, err := file.Info()
		if err != nil {
			return err
		}
		if info.Size() > 0 {
			continue
		}
		if err := os.Remove(filepath.Join(dir, file.Name())); err != nil {
			return err
		}
	}
	return nil
}
