// Package memengine keeps replayed state in memory, for tests and the
// simulation. It is deterministic and has no goroutine. Its stores outlive a
// crash as a disk does: Crash forgets what was not flushed. It knows no file.
package memengine

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

// Options of a Store.
type Options struct {
	// FlushOnApply makes each Apply durable on return. Without it only Flush
	// does, and a crash takes back everything since.
	FlushOnApply bool
}

// Store is an engine.Store in memory. One lock guards everything in it; it is
// held for no longer than a map look-up or one Apply.
type Store struct {
	options Options

	mu     sync.RWMutex
	closed bool
	groups map[pinetree.GroupID]*group
	// restores are those that were neither committed nor closed.
	restores map[pinetree.GroupID]*restore
}

var _ engine.Store = (*Store)(nil)

// New makes an empty store.
func New(options Options) *Store {
	return &Store{options: options, groups: map[pinetree.GroupID]*group{}, restores: map[pinetree.GroupID]*restore{}}
}

// Create implements engine.Store.
func (s *Store) Create(id pinetree.GroupID, start pinetree.Position) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if s.groups[id] == nil {
		start = start.Clone()
		s.groups[id] = &group{store: s, id: id, position: start, flushed: start, volumes: map[pinetree.VolumeID]*volume{}}
	}
	return nil
}

// Open implements engine.Store.
func (s *Store) Open(id pinetree.GroupID) (engine.Engine, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	g, err := s.group(id)
	if err != nil {
		return nil, err
	}
	return g, nil
}

// group finds a group. The lock must be held.
func (s *Store) group(id pinetree.GroupID) (*group, error) {
	if s.closed {
		return nil, errClosed
	}
	g := s.groups[id]
	if g == nil {
		return nil, fmt.Errorf("%w: group %d has no state here", pinetree.ErrUnknownGroup, id)
	}
	return g, nil
}

// Groups implements engine.Store.
func (s *Store) Groups() ([]pinetree.GroupID, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, errClosed
	}
	return slices.Sorted(maps.Keys(s.groups)), nil
}

// Remove implements engine.Store. The group's Engine fails from now on.
func (s *Store) Remove(id pinetree.GroupID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if g := s.groups[id]; g != nil {
		g.failed = fmt.Errorf("%w: group %d was removed", pinetree.ErrStopped, id)
		delete(s.groups, id)
	}
	delete(s.restores, id)
	return nil
}

// Close implements engine.Store. It flushes nothing; Crash opens the store
// again, as a restart would.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
	s.closed = true
	return nil
}

// Crash is a power cut and the restart after it: each group falls back to its
// last flushed position, and every Engine and Reader that was open before
// fails. The store is then used as a new one; Open returns new Engines.
func (s *Store) Crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
	s.closed = false
}

// stop replaces every group by what is left of it and disables the old one and
// the restores.
func (s *Store) stop() {
	clear(s.restores)
	for id, g := range s.groups {
		s.groups[id] = g.survivor()
		g.failed = errClosed
	}
}

var errClosed = fmt.Errorf("%w: the memory engine was closed or has crashed", pinetree.ErrStopped)
