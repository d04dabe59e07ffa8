package files

import (
	"container/list"
	"fmt"
	"sync"

	"github.com/pinetree-db/pinetree/disk"
)

// File is one file of a Set. It is open while it is in use and for some time
// after; it is there while it is pinned. One goroutine at a time writes to it.
type File struct {
	set     *Set
	name    string
	element *list.Element // guarded by the set's lock

	syncing sync.Mutex // held during a sync; comes before mu
	mu      sync.Mutex // comes before the set's lock
	handle  disk.File  // nil when it is not open
	users   int        // of the handle
	dirty   bool       // written to since the last sync began
	failed  error      // of a sync; final
	pins    int
	doomed  bool // is to be removed when no longer pinned
}

// Name is the file's name in its directory.
func (f *File) Name() string { return f.name }

// Open returns the file's handle, for use until Done. After a sync has failed it
// does so no more: what the file holds is not known.
func (f *File) Open() (disk.File, error) {
	handle, err := f.use()
	if err != nil {
		return nil, err
	}
	if victim := f.set.used(f); victim != nil {
		victim.retire()
	}
	return handle, nil
}

func (f *File) use() (disk.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed != nil {
		return nil, f.failed
	}
	if f.handle == nil {
		if f.set.isClosed() {
			return nil, errClosed
		}
		handle, err := f.set.fs.Open(f.name)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", f.name, err)
		}
		f.handle = handle
	}
	f.users++
	return f.handle, nil
}

// Done ends a use of the handle that may have written.
func (f *File) Done(wrote bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users--
	f.dirty = f.dirty || wrote
	if f.doomed || f.set.isClosed() {
		_ = f.closeUnused() // nothing that is still wanted was written
	}
}

// closeUnused closes the handle unless it is in use. The lock must be held.
func (f *File) closeUnused() error {
	if f.handle == nil || f.users > 0 {
		return nil
	}
	err := f.handle.Close()
	f.handle = nil
	return err
}

// retire closes the handle to make room for others, unless it is in use.
func (f *File) retire() {
	err := f.Sync()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && !f.dirty && f.users == 0 {
		_ = f.closeUnused() // everything was synced
	} else if f.handle != nil {
		f.set.keep(f)
	}
}

// Sync makes durable what was written to the file. A failure is final: the page
// cache may have forgotten what it could not write.
func (f *File) Sync() error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	f.mu.Lock()
	if f.failed != nil || !f.dirty {
		defer f.mu.Unlock()
		return f.failed
	}
	handle := f.handle
	if handle == nil { // only the end of the store closes what was not synced
		defer f.mu.Unlock()
		return errClosed
	}
	f.dirty = false
	f.users++
	f.mu.Unlock()
	err := handle.Sync()
	if err != nil {
		err = fmt.Errorf("sync %s: %w", f.name, err)
	}
	f.mu.Lock()
	f.users--
	f.failed = err
	f.mu.Unlock()
	return err
}

// WriteBack has a part of the file written out from now on. If the file is not
// open nothing happens.
func (f *File) WriteBack(s disk.Span) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if cached, ok := f.handle.(disk.Cached); ok {
		cached.WriteBack(s)
	}
}

// Uncache lets the memory of a part of the file that was synced go to what is
// written next. If the file is not open nothing happens.
func (f *File) Uncache(s disk.Span) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if cached, ok := f.handle.(disk.Cached); ok {
		cached.Uncache(s)
	}
}

// Pin keeps the file from being removed until Unpin.
func (f *File) Pin() {
	f.mu.Lock()
	f.pins++
	f.mu.Unlock()
}

// Unpin ends a pin, and removes the file if that waited for it.
func (f *File) Unpin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pins--
	if f.doomed && f.pins == 0 {
		if err := f.remove(); err != nil {
			f.set.log.Warn("a file that is no longer needed stays", "err", err)
		}
	}
}

// Drop removes the file, once it is no longer pinned. It is not written to any
// more. The removal is not durable by itself.
func (f *File) Drop() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.doomed {
		return nil
	}
	f.doomed = true
	if f.pins > 0 {
		return nil
	}
	return f.remove()
}

// remove deletes the file, unless the set is closed: then the directory may be
// somebody else's. The lock must be held.
func (f *File) remove() error {
	f.dirty = false
	_ = f.closeUnused() // what it says is not wanted any more
	f.set.forget(f)
	if f.set.isClosed() {
		return nil
	}
	if err := f.set.fs.Remove(f.name); err != nil {
		return fmt.Errorf("remove %s: %w", f.name, err)
	}
	return nil
}
