package lsm

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/pages"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
	"github.com/pinetree-db/pinetree/engine/lsm/trash"
)

// group is the engine.Engine of one group.
//
// Invariants:
//
//	flushed is what is stored, at or below state
//	versions and batches up to the LSNs of its position never change, but for those
//	that only reads below its truncated LSNs would see: they go
type group struct {
	store   *Store
	id      pinetree.GroupID
	state   atomic.Pointer[state]
	flushed atomic.Pointer[state]
	failed  sorted.Failure
	removed atomic.Bool
	trash   trash.List

	trimming trimming

	// clean are the pages of a generation that no earlier crash has left anything
	// of above its position. It is Apply's.
	clean    map[pinetree.VolumeID]*pages.Set
	cleanFor layout.Generation

	// reading is held by each read, and by a restore that replaces the state:
	// after it nobody reads in the old generation, which may then go.
	reading sync.RWMutex
}

func newGroup(s *Store, id pinetree.GroupID, at *state) *group {
	g := &group{store: s, id: id}
	g.state.Store(at)
	g.flushed.Store(at)
	return g
}

// Position implements engine.Engine.
func (g *group) Position() pinetree.Position { return g.state.Load().position }

// Flushed implements engine.Engine.
func (g *group) Flushed() pinetree.Position { return g.flushed.Load().position }

// Apply implements engine.Engine. Flush makes it durable.
func (g *group) Apply(w engine.Write) error {
	if err := g.store.enter(); err != nil {
		return err
	}
	defer g.store.leave()
	if err := g.failed.Get(); err != nil {
		return err
	}
	if err := g.apply(w); err != nil {
		g.failed.Set(fmt.Errorf("group %d takes no more writes: %w", g.id, err))
		return g.failed.Get()
	}
	return nil
}

func (g *group) apply(w engine.Write) error {
	old := g.state.Load()
	w.Position = w.Position.Clone()
	next, runs, err := g.transactions(old, w)
	if err != nil {
		return err
	}
	for _, run := range runs {
		if err := g.store.commit(run); err != nil {
			return err
		}
	}
	g.state.Store(next)
	return nil
}

// transactions is what a write leads to, and what has to be committed for that, one
// after the other.
func (g *group) transactions(old *state, w engine.Write) (*state, [][]entry, error) {
	if err := engine.CheckWrite(old.position, w); err != nil {
		return nil, nil, err
	}
	entries, err := replay(g, old, w)
	if err != nil {
		return nil, nil, err
	}
	next, entries, err := g.replayMeta(entries, old, w)
	if err != nil {
		return nil, nil, err
	}
	return next, g.store.traits.Split(entries), nil
}

// enter begins a read in the group, which leave ends.
func (g *group) enter() error {
	if err := g.store.enter(); err != nil {
		return err
	}
	if g.removed.Load() {
		g.store.leave()
		return fmt.Errorf("%w: group %d was removed", pinetree.ErrStopped, g.id)
	}
	g.reading.RLock()
	return nil
}

func (g *group) leave() {
	g.reading.RUnlock()
	g.store.leave()
}

// Volume implements engine.Engine.
func (g *group) Volume(id pinetree.VolumeID) (engine.Reader, error) {
	if _, ok := g.Position().Volumes[id]; !ok {
		return nil, fmt.Errorf("%w: volume %d is not in group %d", pinetree.ErrUnknownVolume, id, g.id)
	}
	return &reader{group: g, id: id}, nil
}

// replace sets the state that a restore brought. The group takes writes again
// if it had met one that did not fit.
func (g *group) replace(next *state) {
	g.reading.Lock()
	defer g.reading.Unlock()
	g.state.Store(next)
	g.flushed.Store(next)
	g.trash.Clear()
	g.failed.Clear()
}
