package badgerengine

import (
	"fmt"
	"sync/atomic"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// group is the engine.Engine of one group.
//
// Invariants:
//
//	position is what the last committed transaction of the group's says
//	versions and batches up to the LSNs of position never change
type group struct {
	store    *Store
	id       pinetree.GroupID
	position atomic.Pointer[pinetree.Position]
	failed   failure
	removed  atomic.Bool
}

func newGroup(s *Store, id pinetree.GroupID, position pinetree.Position) *group {
	g := &group{store: s, id: id}
	g.position.Store(&position)
	return g
}

// Position implements engine.Engine.
func (g *group) Position() pinetree.Position { return *g.position.Load() }

// Flushed implements engine.Engine: what is applied is on disk.
func (g *group) Flushed() pinetree.Position { return *g.position.Load() }

// Flush implements engine.Engine. There is nothing left to do.
func (g *group) Flush() (pinetree.Position, error) {
	if err := g.store.failed.get(); err != nil {
		return g.Flushed(), err
	}
	return g.Flushed(), nil
}

// Apply implements engine.Engine. It is durable on return.
func (g *group) Apply(w engine.Write) error {
	if err := g.store.enter(); err != nil {
		return err
	}
	defer g.store.leave()
	if err := g.failed.get(); err != nil {
		return err
	}
	if err := g.apply(w); err != nil {
		g.failed.set(fmt.Errorf("group %d takes no more writes: %w", g.id, err))
		return g.failed.get()
	}
	return nil
}

func (g *group) apply(w engine.Write) error {
	next := w.Position.Clone()
	w.Position = next
	runs, err := g.transactions(g.Position(), w)
	if err != nil {
		return err
	}
	for _, run := range runs {
		if err := g.store.commit(run); err != nil {
			return err
		}
	}
	g.position.Store(&next)
	return nil
}

// transactions is what has to be committed for a write, one after the other.
func (g *group) transactions(old pinetree.Position, w engine.Write) ([][]entry, error) {
	if err := engine.CheckWrite(old, w); err != nil {
		return nil, err
	}
	entries, err := replay(g, old, w)
	if err != nil {
		return nil, err
	}
	position, err := positionEntries(g.id, w.Position)
	if err != nil {
		return nil, err
	}
	return g.store.split(entries, position)
}

// Volume implements engine.Engine.
func (g *group) Volume(id pinetree.VolumeID) (engine.Reader, error) {
	if _, ok := g.Position().Volumes[id]; !ok {
		return nil, fmt.Errorf("%w: volume %d is not in group %d", pinetree.ErrUnknownVolume, id, g.id)
	}
	return &reader{group: g, id: id, keys: keysOf(g.id, id)}, nil
}

func positionEntries(id pinetree.GroupID, p pinetree.Position) ([]entry, error) {
	data, err := storepb.EncodePosition(p)
	if err != nil {
		return nil, fmt.Errorf("position of group %d: %w", id, err)
	}
	return appendValue(nil, groupKey(positionKey, id), data)
}
