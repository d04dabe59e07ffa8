package faultfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"syscall"

	"github.com/pinetree-db/pinetree/disk"
)

// handle is the directory as one life of a process has it open.
type handle struct {
	disk *Disk
	life int
}

// rename makes a change of names that the fault allows.
func (h *handle) rename(change nameChange) error {
	done, err := h.disk.step(h.life)
	if done {
		change.apply(h.disk.names)
		h.disk.unsynced = append(h.disk.unsynced, change)
	}
	return err
}

// Create makes a file, which must not exist.
func (h *handle) Create(name string) (disk.File, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.disk.names[name] != nil {
		return nil, fmt.Errorf("create %s: %w", name, fs.ErrExist)
	}
	n := newInode()
	if err := h.rename(nameChange{to: name, file: n}); err != nil {
		return nil, err
	}
	return &file{handle: h, inode: n}, nil
}

// Open opens a file.
func (h *handle) Open(name string) (disk.File, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if _, err := h.disk.step(h.life); err != nil {
		return nil, err
	}
	n := h.disk.names[name]
	if n == nil {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
	return &file{handle: h, inode: n}, nil
}

// Rename gives a file another name.
func (h *handle) Rename(from, to string) error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	n := h.disk.names[from]
	if n == nil {
		return fmt.Errorf("rename %s: %w", from, fs.ErrNotExist)
	}
	return h.rename(nameChange{from: from, to: to, file: n})
}

// Remove deletes a file's name.
func (h *handle) Remove(name string) error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	n := h.disk.names[name]
	if n == nil {
		return fmt.Errorf("remove %s: %w", name, fs.ErrNotExist)
	}
	return h.rename(nameChange{from: name, file: n})
}

// List names all files.
func (h *handle) List() ([]string, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if _, err := h.disk.step(h.life); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(h.disk.names)), nil
}

// SyncDir makes the names durable.
func (h *handle) SyncDir() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	done, err := h.disk.step(h.life)
	if done {
		h.disk.durable, h.disk.unsynced = maps.Clone(h.disk.names), nil
	}
	return err
}

// Close lets the directory be opened again.
func (h *handle) Close() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.life == h.disk.life {
		h.disk.open = false
	}
	return nil
}

// file is an open file.
type file struct {
	handle *handle
	inode  *inode
	closed bool
}

// step is Disk.step for a file that is open.
func (f *file) step() (done bool, err error) {
	if f.closed {
		return false, fs.ErrClosed
	}
	return f.handle.disk.step(f.handle.life)
}

// ReadAt reads what processes see.
func (f *file) ReadAt(p []byte, offset int64) (int, error) {
	f.handle.disk.mu.Lock()
	defer f.handle.disk.mu.Unlock()
	if _, err := f.step(); err != nil {
		return 0, err
	}
	if offset >= int64(len(f.inode.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.inode.data[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteParts writes; what a fault interrupts is done up to some byte.
func (f *file) WriteParts(parts [][]byte, offset int64) error {
	disk := f.handle.disk
	disk.mu.Lock()
	defer disk.mu.Unlock()
	p := slices.Concat(parts...)
	before := disk.operations
	_, err := f.step()
	if err == nil {
		f.inode.write(p, offset)
		return nil
	}
	if disk.operations != before {
		f.inode.write(p[:disk.random().IntN(len(p)+1)], offset)
	}
	return err
}

// Sync makes the contents durable. When it fails, what was written since the
// last one is forgotten to be dirty, and never gets to the disk.
func (f *file) Sync() error {
	f.handle.disk.mu.Lock()
	defer f.handle.disk.mu.Unlock()
	done, err := f.step()
	if done {
		f.inode.sync()
	} else if errors.Is(err, syscall.EIO) {
		clear(f.inode.dirty)
	}
	return err
}

// Size is the length that processes see.
func (f *file) Size() (int64, error) {
	f.handle.disk.mu.Lock()
	defer f.handle.disk.mu.Unlock()
	if _, err := f.step(); err != nil {
		return 0, err
	}
	return int64(len(f.inode.data)), nil
}

// Close gives the file up.
func (f *file) Close() error {
	f.handle.disk.mu.Lock()
	defer f.handle.disk.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	return nil
}
