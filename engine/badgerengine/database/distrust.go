package database

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// distrustFile is there when the database met an error and everything in it is
// to be checked before it is used again. Badger goes on in the background after
// a failed sync, and a compaction that met one can lose a table without a word,
// so that an acknowledged write is missing in the middle.
const distrustFile = "DISTRUST"

// distrust leaves word that an error was met. It does what a disk that fails
// lets it do.
func (d *DB) distrust(why error) {
	path := filepath.Join(d.dir, distrustFile)
	if err := os.WriteFile(path, []byte(why.Error()+"\n"), 0o644); err != nil {
		d.log.Error("cannot leave word that the engine is to be checked", "path", path, "err", err)
	}
}

// RegainTrust implements sorted.Verifier. What an error was met is in a file,
// which stays until everything passes.
func (d *DB) RegainTrust(check func() error) error {
	path := filepath.Join(d.dir, distrustFile)
	why, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	d.log.Warn("the engine met an error when it was last open; checking everything", "error", strings.TrimSpace(string(why)))
	if err := check(); err != nil {
		return fmt.Errorf("after an earlier error of the disk (see %s) the engine is not whole; keep the directory for inspection and start the node with an empty one: %w", path, err)
	}
	return os.Remove(path)
}
