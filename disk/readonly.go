package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// OpenReadOnly opens a directory that is there to be looked into, and changes nothing
// in it: what writes is an error. Whoever has it open by OpenDirectory keeps this one
// from opening it, and the other way round.
func OpenReadOnly(path string) (FS, error) {
	lock, err := os.Open(filepath.Join(path, lockName))
	if errors.Is(err, os.ErrNotExist) { // a copy, which nobody uses
		lock, err = os.Open(path)
	}
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("directory %s is open in another process; stop that one first", path)
		}
		return nil, fmt.Errorf("lock directory %s: %w", path, err)
	}
	return readOnly{&directory{path: path, lock: lock}}, nil
}

// readOnly is a directory in which nothing is changed.
type readOnly struct{ *directory }

var errReadOnly = errors.New("the directory is open to be looked into, and not to be changed")

func (d readOnly) Create(name string) (File, error) { return nil, refuse("create", name) }

func (d readOnly) Open(name string) (File, error) {
	f, err := os.Open(filepath.Join(d.path, name))
	if err != nil {
		return nil, err
	}
	return readOnlyFile{file{f, int(f.Fd())}}, nil
}

func (d readOnly) Rename(from, _ string) error { return refuse("rename", from) }

func (d readOnly) Remove(name string) error { return refuse("remove", name) }

func (d readOnly) SyncDir() error { return refuse("sync", d.path) }

// readOnlyFile is a file of such a directory.
type readOnlyFile struct{ file }

func (f readOnlyFile) WriteParts([][]byte, int64) error { return refuse("write", f.Name()) }

func (f readOnlyFile) Sync() error { return refuse("sync", f.Name()) }

func refuse(what, name string) error { return fmt.Errorf("%s %s: %w", what, name, errReadOnly) }
