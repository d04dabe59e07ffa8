package lsm

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/drops"
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
	lost    drops.Losses

	trimming trimming

	preparing preparation

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
	apply, err := g.Prepare(w)
	if err != nil {
		return err
	}
	return apply()
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
	g.lost.Clear()
	g.failed.Clear()
	g.preparing = preparation{}
}
