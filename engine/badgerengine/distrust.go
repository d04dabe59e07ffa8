package badgerengine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pinetree-db/pinetree"
)

// distrustFile is there when the database met an error and everything in it is
// to be checked before it is used again. Badger goes on in the background after
// a failed sync, and a compaction that met one can lose a table without a word,
// so that an acknowledged write is missing in the middle.
const distrustFile = "DISTRUST"

// distrust leaves word that an error was met. It does what a disk that fails
// lets it do.
func (s *Store) distrust(why error) {
	path := filepath.Join(s.dir, distrustFile)
	if err := os.WriteFile(path, []byte(why.Error()+"\n"), 0o644); err != nil {
		s.log.Error("cannot leave word that the engine is to be checked", "path", path, "err", err)
	}
}

// regainTrust checks everything if an error was met before: every table's
// checksums, and that the log of every volume is whole up to its position. What
// does not pass is a *pinetree.CorruptError, and the word stays.
func (s *Store) regainTrust() error {
	path := filepath.Join(s.dir, distrustFile)
	why, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.log.Warn("the engine met an error when it was last open; checking everything", "error", strings.TrimSpace(string(why)))
	if err := s.Verify(); err != nil {
		return s.distrusted(err)
	}
	ids, err := s.Groups()
	if err != nil {
		return s.distrusted(err)
	}
	for _, id := range ids {
		if err := s.checkLogs(id); err != nil {
			return s.distrusted(err)
		}
	}
	return os.Remove(path)
}

func (s *Store) distrusted(err error) error {
	return fmt.Errorf("after an earlier error of the disk (see %s) the engine is not whole; keep the directory for inspection and start the node with an empty one: %w",
		filepath.Join(s.dir, distrustFile), err)
}

// checkLogs reads the logs of a group's volumes from end to end.
func (s *Store) checkLogs(id pinetree.GroupID) error {
	e, err := s.Open(id)
	if err != nil {
		return err
	}
	for volume, at := range e.Position().Volumes {
		r, err := e.Volume(volume)
		if err != nil {
			return err
		}
		end := max(at.Base, at.Truncated)
		err = r.Log(end, func(b pinetree.Batch) error {
			end = b.LSN
			return nil
		})
		if err != nil {
			return err
		}
		if end != at.LSN {
			return &pinetree.CorruptError{
				Where: fmt.Sprintf("%s: log of volume %d", s.dir, volume),
				What:  fmt.Sprintf("it ends at %s and was replayed up to %s", end, at.LSN),
			}
		}
	}
	return nil
}
