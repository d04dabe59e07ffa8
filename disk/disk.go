// Package disk is the file system as the stores that write their own files see
// it: one locked directory, positioned reads and vectored writes, and syncs that
// say what is durable. It knows nothing of what is in the files. faultfs is the
// same in memory, with faults.
package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// FS is one directory of a file system, as far as a store needs it. Names
// are those of files directly in it. Close gives the directory up for others
// to open; files stay open.
type FS interface {
	// Create makes a file for reading and writing; it must not exist.
	Create(name string) (File, error)
	// Open opens a file for reading and writing.
	Open(name string) (File, error)
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

// File is an open file. ReadAt may be called by several goroutines.
type File interface {
	io.ReaderAt
	// WriteParts writes the parts one after the other, from that offset on. It
	// keeps and changes none of them but the outer slice.
	WriteParts(parts [][]byte, offset int64) error
	// Sync makes the file's contents and length durable.
	Sync() error
	// Size is the file's length in bytes.
	Size() (int64, error)
	io.Closer
}

// Cached is implemented by files that the operating system keeps in memory. All
// of it are hints.
type Cached interface {
	// WriteBack has a part of the file written out from now on, so that a later
	// Sync finds little left to do, and what others write meanwhile does not wait
	// behind it. Nothing is durable by it. It may be called while others read.
	WriteBack(Span)
	// Uncache tells that a part of the file, which was synced, will not be read
	// soon, so that its memory goes to what is written next.
	Uncache(Span)
}

// Span is the bytes [From, To) of a file.
type Span struct{ From, To int64 }

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
			return nil, fmt.Errorf("directory %s is open in another process; stop that one first", path)
		}
		return nil, fmt.Errorf("lock directory %s: %w", path, err)
	}
	return &directory{path: path, lock: lock}, nil
}

func (d *directory) Create(name string) (File, error) {
	return openFile(filepath.Join(d.path, name), os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (d *directory) Open(name string) (File, error) {
	return openFile(filepath.Join(d.path, name), os.O_RDWR)
}

func (d *directory) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}

func (d *directory) Remove(name string) error { return os.Remove(filepath.Join(d.path, name)) }

// Usage is how many bytes the file system has left for those who are not root,
// and how many it has in all.
func (d *directory) Usage() (free, total uint64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(d.path, &fs); err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: d.path, Err: err}
	}
	return fs.Bavail * uint64(fs.Bsize), fs.Blocks * uint64(fs.Bsize), nil
}

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

type file struct {
	*os.File
	fd int
}

func openFile(path string, flag int) (File, error) {
	f, err := os.OpenFile(path, flag, 0o644)
	if err != nil {
		return nil, err
	}
	return file{f, int(f.Fd())}, nil
}

// maxParts is how many parts Linux takes in one call.
const maxParts = 1024

// WriteParts writes with one call as long as there are no more than 1,024
// parts and the file system takes all of them at once.
func (f file) WriteParts(parts [][]byte, offset int64) error {
	for len(parts) > 0 {
		n, err := unix.Pwritev(f.fd, parts[:min(len(parts), maxParts)], offset)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: "pwritev", Path: f.Name(), Err: err}
		}
		offset += int64(max(n, 0))
		for n > 0 && n >= len(parts[0]) {
			n -= len(parts[0])
			parts = parts[1:]
		}
		if n > 0 {
			parts[0] = parts[0][n:]
		}
		for len(parts) > 0 && len(parts[0]) == 0 {
			parts = parts[1:]
		}
	}
	return nil
}

// Sync leaves out the times of the file, which no reader needs.
func (f file) Sync() error {
	for {
		err := syscall.Fdatasync(f.fd)
		if !errors.Is(err, syscall.EINTR) {
			if err != nil {
				return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
			}
			return nil
		}
	}
}

// WriteBack implements Cached. An error of the writing is told by the next Sync.
func (f file) WriteBack(s Span) {
	_ = unix.SyncFileRange(f.fd, s.From, s.To-s.From, unix.SYNC_FILE_RANGE_WRITE)
}

// Uncache implements Cached.
func (f file) Uncache(s Span) {
	if s.To > s.From { // a length of zero would mean the whole file
		_ = unix.Fadvise(f.fd, s.From, s.To-s.From, unix.FADV_DONTNEED) // a hint that is not taken does no harm
	}
}

// OpenDirect implements Direct. It opens the file that is open, whatever its name
// is by now.
func (f file) OpenDirect() (DirectFile, error) {
	d, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.fd), os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	return directFile{d, int(d.Fd()), f}, nil
}

// directFile is a file that was opened with O_DIRECT.
type directFile struct {
	*os.File
	fd     int
	cached file
}

// WriteBlocks implements DirectFile. What the file system wants larger blocks for
// goes through the page cache.
func (f directFile) WriteBlocks(b []byte, offset int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(f.fd, b, offset)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EINVAL):
			return f.cached.WriteParts([][]byte{b}, offset)
		case err != nil:
			return &os.PathError{Op: "pwrite", Path: f.cached.Name(), Err: err}
		}
		b, offset = b[max(n, 0):], offset+int64(max(n, 0))
	}
	return nil
}

func (f file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
