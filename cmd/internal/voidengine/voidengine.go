// Package voidengine is an engine that keeps nothing but positions and
// metadata, and those in memory: what remains of the cost of shipping when no
// engine has any. It is for measuring alone. No node that anybody relies on may
// have it: whatever was replayed is gone.
package voidengine

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/meta"
)

// Store is an engine.Store that keeps nothing. Everything may be called by any
// goroutine.
type Store struct {
	mu     sync.Mutex
	groups map[pinetree.GroupID]*group
}

var _ engine.Store = (*Store)(nil)

// New makes a store without a group.
func New() *Store { return &Store{groups: map[pinetree.GroupID]*group{}} }

// Create implements engine.Store. Nothing is durable.
func (s *Store) Create(id pinetree.GroupID, start pinetree.Position) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups[id] == nil {
		s.groups[id] = &group{id: id, position: start.Clone()}
	}
	return nil
}

// Open implements engine.Store.
func (s *Store) Open(id pinetree.GroupID) (engine.Engine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[id]; g != nil {
		return g, nil
	}
	return nil, fmt.Errorf("%w: group %d has no state here", pinetree.ErrUnknownGroup, id)
}

// Groups implements engine.Store.
func (s *Store) Groups() ([]pinetree.GroupID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.groups)), nil
}

// Remove implements engine.Store.
func (s *Store) Remove(id pinetree.GroupID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.groups, id)
	return nil
}

// Snapshot implements engine.Store: there is nothing to send.
func (s *Store) Snapshot(id pinetree.GroupID) (engine.Snapshot, error) {
	return nil, refuse("a snapshot of group %d", id)
}

// Restore implements engine.Store: nothing would be kept.
func (s *Store) Restore(id pinetree.GroupID, _ pinetree.Position) (engine.Restore, error) {
	return nil, refuse("to take in the state of group %d", id)
}

// Close implements engine.Store.
func (s *Store) Close() error { return nil }

// refuse is the error of whoever wants what was not kept. It is none of those
// that say that something is not there: that would be believed.
func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s: this node's engine keeps nothing and is for measuring alone; start the node with another --engine on an empty directory",
		pinetree.ErrBadBatch, fmt.Sprintf(format, args...))
}

// group is the engine.Engine of one group.
type group struct {
	id pinetree.GroupID

	mu       sync.Mutex
	position pinetree.Position
	meta     engine.Metadata
	failed   error // set once; nothing is taken after it
}

// Position implements engine.Engine.
func (g *group) Position() pinetree.Position {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.position
}

// Flushed implements engine.Engine: with nothing to flush it is the position.
func (g *group) Flushed() pinetree.Position { return g.Position() }

// Flush implements engine.Engine.
func (g *group) Flush() (pinetree.Position, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.position, g.failed
}

// Apply implements engine.Engine. It makes the checks that every engine makes,
// and forgets the records.
func (g *group) Apply(w engine.Write) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed != nil {
		return g.failed
	}
	err := engine.CheckWrite(g.position, w)
	if err == nil {
		g.meta, _, err = g.meta.Advance(w)
	}
	if err != nil {
		g.failed = fmt.Errorf("group %d takes no more writes: %w", g.id, err)
		return g.failed
	}
	g.position = w.Position.Clone()
	return nil
}

// Volume implements engine.Engine.
func (g *group) Volume(id pinetree.VolumeID) (engine.Reader, error) {
	if err := g.knows(id); err != nil {
		return nil, err
	}
	return reader{group: g, id: id}, nil
}

// Meta implements engine.Engine.
func (g *group) Meta(id pinetree.VolumeID) (*meta.Table, error) {
	if err := g.knows(id); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.meta.Table(id), nil
}

func (g *group) knows(id pinetree.VolumeID) error {
	if _, ok := g.Position().Volumes[id]; !ok {
		return fmt.Errorf("%w: volume %d is not in group %d", pinetree.ErrUnknownVolume, id, g.id)
	}
	return nil
}

// reader is the engine.Reader of one volume: it knows its position and refuses
// everything else.
type reader struct {
	group *group
	id    pinetree.VolumeID
}

// Position implements engine.Reader.
func (r reader) Position() pinetree.VolumePosition { return r.group.Position().Volumes[r.id] }

// Page implements engine.Reader.
func (r reader) Page(page pinetree.PageNo, _ pinetree.LSN) (engine.PageRead, error) {
	return engine.PageRead{}, refuse("page %d of volume %d", page, r.id)
}

// Get implements engine.Reader.
func (r reader) Get(key []byte, _ pinetree.LSN) (engine.KeyRead, error) {
	return engine.KeyRead{}, refuse("key %q of volume %d", key, r.id)
}

// Range implements engine.Reader.
func (r reader) Range(engine.RangeSpec) (engine.RangeRead, error) {
	return engine.RangeRead{}, refuse("keys of volume %d", r.id)
}

// Log implements engine.Reader.
func (r reader) Log(from pinetree.LSN, _ func(pinetree.Batch) error) error {
	return refuse("the log of volume %d after %s", r.id, from)
}
