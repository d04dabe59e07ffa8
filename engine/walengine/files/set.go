package files

import (
	"container/list"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/disk"
)

// Set is the files of a directory that a store uses. At most so many of them
// are open, but for those that are in use; what has not been used for longest is
// closed first. A file that was written to is synced before that, so that an
// error of its writeback cannot get lost with its handle. Everything may be
// called by any goroutine.
type Set struct {
	fs   disk.FS
	log  *slog.Logger
	most int

	mu     sync.Mutex
	recent list.List // of *File, the last used in front
	closed bool
}

// NewSet makes the set of a directory, which Close does not close. The logger
// hears of files that cannot be removed.
func NewSet(fs disk.FS, maxOpen int, log *slog.Logger) *Set {
	return &Set{fs: fs, log: log, most: maxOpen}
}

// Create makes a file, which must not exist.
func (s *Set) Create(name string) (*File, error) {
	handle, err := s.fs.Create(name)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	return &File{set: s, name: name, handle: handle}, nil
}

// Known is a file that is there.
func (s *Set) Known(name string) *File { return &File{set: s, name: name} }

// SyncDir makes creations and removals durable.
func (s *Set) SyncDir() error {
	if err := s.fs.SyncDir(); err != nil {
		return fmt.Errorf("sync the directory: %w", err)
	}
	return nil
}

// Close closes what nobody uses; the rest is closed by whoever uses it. Nothing
// is synced, opened or removed any more.
func (s *Set) Close() error {
	s.mu.Lock()
	s.closed = true
	var open []*File
	for e := s.recent.Front(); e != nil; e = e.Next() {
		open = append(open, e.Value.(*File))
	}
	s.mu.Unlock()
	var failed error
	for _, f := range open {
		f.mu.Lock()
		failed = errors.Join(failed, f.closeUnused())
		f.mu.Unlock()
	}
	return failed
}

// used notes that a file is in use, and returns one to be closed.
func (s *Set) used(f *File) (victim *File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.element != nil {
		s.recent.MoveToFront(f.element)
		return nil
	}
	f.element = s.recent.PushFront(f)
	if s.recent.Len() <= s.most {
		return nil
	}
	victim = s.recent.Back().Value.(*File)
	s.recent.Remove(victim.element)
	victim.element = nil
	return victim
}

// keep puts back a file that could not be closed.
func (s *Set) keep(f *File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.element == nil {
		f.element = s.recent.PushFront(f)
	}
}

// forget takes a file off the list.
func (s *Set) forget(f *File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.element != nil {
		s.recent.Remove(f.element)
		f.element = nil
	}
}

func (s *Set) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

var errClosed = fmt.Errorf("%w: the store of these files is closed", pinetree.ErrStopped)
