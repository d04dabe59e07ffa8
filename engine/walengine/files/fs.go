package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// FS is one directory of a file system, as far as a Set needs it. Names
// are those of files directly in it. Close gives the directory up for others to
// open; files stay open.
type FS interface {
	// Create makes a file for reading and writing; it must not exist.
	Create(name string) (Handle, error)
	// Open opens a file for reading and writing.
	Open(name string) (Handle, error)
	// Rename gives a file another name, replacing what had it.
	Rename(from, to string) error
	// Remove deletes a file. Those who have it open can go on reading it.
	Remove(name string) error
	// List names all files, in any order.
	List() ([]string, error)
	// SyncDir makes creations, renames and removals durable.
	SyncDir() error
	io.Closer
}

// Handle is an open file. All but Close may be called by several goroutines.
type Handle interface {
	io.ReaderAt
	// WriteParts writes the parts one after the other from a place on. It
	// changes the slice of parts, not their bytes.
	WriteParts(parts [][]byte, at int64) error
	// Sync makes the file's contents and length durable.
	Sync() error
	// Size is the file's length in bytes.
	Size() (int64, error)
	io.Closer
}

// directory is FS on the operating system.
type directory struct {
	path string
	lock *os.File
}

const lockName = "LOCK"

// OpenDirectory makes the directory if it is missing and locks it, so that no
// other process, and nobody else in this one, opens it before Close.
func OpenDirectory(path string) (FS, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	// The directory's own name must survive a power cut as well.
	if err := syncDirectory(filepath.Dir(filepath.Clean(path))); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("engine directory %s is open in another process; stop that one first", path)
		}
		return nil, fmt.Errorf("lock engine directory %s: %w", path, err)
	}
	return &directory{path: path, lock: lock}, nil
}

func (d *directory) Create(name string) (Handle, error) {
	return openFile(filepath.Join(d.path, name), os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (d *directory) Open(name string) (Handle, error) {
	return openFile(filepath.Join(d.path, name), os.O_RDWR)
}

func (d *directory) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}

func (d *directory) Remove(name string) error { return os.Remove(filepath.Join(d.path, name)) }

func (d *directory) List() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (d *directory) SyncDir() error { return syncDirectory(d.path) }

func (d *directory) Close() error { return d.lock.Close() }

func syncDirectory(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

type osFile struct{ *os.File }

func openFile(path string, flag int) (Handle, error) {
	f, err := os.OpenFile(path, flag, 0o644)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// maxParts is how many parts one system call takes.
const maxParts = 1024

// WriteParts needs one system call for up to maxParts parts, unless the file
// system takes less than it was given.
func (f osFile) WriteParts(parts [][]byte, at int64) error {
	for len(parts) > 0 {
		n, err := unix.Pwritev(int(f.Fd()), parts[:min(len(parts), maxParts)], at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return &os.PathError{Op: "pwritev", Path: f.Name(), Err: err}
		}
		at += int64(n)
		for len(parts) > 0 && n >= len(parts[0]) {
			n, parts = n-len(parts[0]), parts[1:]
		}
		if n > 0 {
			parts[0] = parts[0][n:]
		}
	}
	return nil
}

// Sync leaves out the times of the file, which no reader needs.
func (f osFile) Sync() error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if !errors.Is(err, syscall.EINTR) {
			if err != nil {
				return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
			}
			return nil
		}
	}
}

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
