package memengine

import (
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/meta"
)

// group is the engine.Engine of one group. Everything in it is guarded by the
// store's lock.
type group struct {
	store             *Store
	id                pinetree.GroupID
	position, flushed pinetree.Position
	volumes           map[pinetree.VolumeID]*volume
	// meta is the metadata at the position, flushedMeta at flushed.
	meta, flushedMeta engine.Metadata
	failed            error // set once; every later call that can fail returns it
}

// Position implements engine.Engine.
func (g *group) Position() pinetree.Position {
	g.store.mu.RLock()
	defer g.store.mu.RUnlock()
	return g.position
}

// Flushed implements engine.Engine.
func (g *group) Flushed() pinetree.Position {
	g.store.mu.RLock()
	defer g.store.mu.RUnlock()
	return g.flushed
}

// Flush implements engine.Engine.
func (g *group) Flush() (pinetree.Position, error) {
	g.store.mu.Lock()
	defer g.store.mu.Unlock()
	if g.failed != nil {
		return g.flushed, g.failed
	}
	g.flushed, g.flushedMeta = g.position, g.meta
	g.drop()
	return g.flushed, nil
}

// Apply implements engine.Engine.
func (g *group) Apply(w engine.Write) error {
	g.store.mu.Lock()
	defer g.store.mu.Unlock()
	if g.failed != nil {
		return g.failed
	}
	if err := g.apply(w); err != nil {
		g.failed = fmt.Errorf("group %d takes no more writes: %w", g.id, err)
		return g.failed
	}
	return nil
}

// apply decodes everything before it changes anything, so a payload that does
// not decode leaves no trace of the write.
func (g *group) apply(w engine.Write) error {
	if err := engine.CheckWrite(g.position, w); err != nil {
		return err
	}
	decoded := make([][]change, len(w.Batches))
	for i, b := range w.Batches {
		var err error
		if decoded[i], err = decode(b, w.Position.Volumes[b.Volume].Format); err != nil {
			return err
		}
	}
	next, _, err := g.meta.Advance(w)
	if err != nil {
		return err
	}
	for i, b := range w.Batches {
		v := g.volumes[b.Volume]
		if v == nil {
			v = newVolume()
			g.volumes[b.Volume] = v
		}
		v.add(b, decoded[i])
	}
	g.position, g.meta = w.Position, next
	if g.store.options.FlushOnApply {
		g.flushed, g.flushedMeta = g.position, g.meta
		g.drop()
	}
	return nil
}

// Volume implements engine.Engine.
func (g *group) Volume(id pinetree.VolumeID) (engine.Reader, error) {
	g.store.mu.RLock()
	defer g.store.mu.RUnlock()
	if err := g.knows(id); err != nil {
		return nil, err
	}
	return &reader{group: g, id: id}, nil
}

// Meta implements engine.Engine.
func (g *group) Meta(id pinetree.VolumeID) (*meta.Table, error) {
	g.store.mu.RLock()
	defer g.store.mu.RUnlock()
	if err := g.knows(id); err != nil {
		return nil, err
	}
	return g.meta.Table(id), nil
}

// knows is why a volume cannot be read. The store's lock must be held.
func (g *group) knows(id pinetree.VolumeID) error {
	if g.failed != nil && g.store.groups[g.id] != g {
		return g.failed
	}
	if _, ok := g.position.Volumes[id]; !ok {
		return fmt.Errorf("%w: volume %d is not in group %d", pinetree.ErrUnknownVolume, id, g.id)
	}
	return nil
}

// survivor is the group after a crash.
func (g *group) survivor() *group {
	left := &group{
		store: g.store, id: g.id, position: g.flushed, flushed: g.flushed, volumes: map[pinetree.VolumeID]*volume{},
		meta: g.flushedMeta, flushedMeta: g.flushedMeta,
	}
	for id, v := range g.volumes {
		if at, ok := g.flushed.Volumes[id]; ok {
			left.volumes[id] = v.upTo(at.LSN)
		}
	}
	return left
}
