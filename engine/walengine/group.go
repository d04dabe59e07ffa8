package walengine

import (
	"fmt"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

// group is the engine.Engine of one group.
type group struct {
	store *Store
	id    pinetree.GroupID

	writing sync.Mutex // held by whoever changes the log; comes before mu
	mu      sync.RWMutex
	log     *groupLog // replaced when a snapshot is restored
	failed  error     // set once; nothing is written after it
	removed bool
}

// current is the group's log, and an error when it can no longer be read.
func (g *group) current() (*groupLog, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.removed {
		return g.log, fmt.Errorf("%w: group %d was removed", pinetree.ErrStopped, g.id)
	}
	return g.log, nil
}

// Position implements engine.Engine.
func (g *group) Position() pinetree.Position {
	l, _ := g.current() // of a removed group, the last one
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.position
}

// Flushed implements engine.Engine.
func (g *group) Flushed() pinetree.Position {
	l, _ := g.current()
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.flushed
}

// change calls fn with the group's log, to write to it. An error of fn is the
// group's last one.
func (g *group) change(fn func(*groupLog) error) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	l, err := g.current()
	if err != nil {
		return err
	}
	if err := g.failure(); err != nil {
		return err
	}
	if err := fn(l); err != nil {
		g.fail(fmt.Errorf("group %d takes no more writes: %w", g.id, err))
		return g.failure()
	}
	return nil
}

func (g *group) failure() error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.failed
}

// fail sets the error of all later writes, unless there is one.
func (g *group) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed == nil {
		g.failed = err
	}
}

// Apply implements engine.Engine. It does not sync.
func (g *group) Apply(w engine.Write) error {
	return g.change(func(l *groupLog) error {
		if err := engine.CheckWrite(l.position, w); err != nil {
			return err
		}
		for id, v := range w.Position.Volumes {
			if v.Format != pinetree.FormatOpaque && v.Format != 0 {
				return fmt.Errorf("%w: volume %d is a %s volume, and the wal engine keeps nothing but the log of opaque ones; have it in a group whose nodes run another engine", pinetree.ErrBadBatch, id, v.Format)
			}
		}
		return l.apply(w)
	})
}

// Flush implements engine.Engine.
func (g *group) Flush() (pinetree.Position, error) {
	err := g.change((*groupLog).flush)
	return g.Flushed(), err
}

// Volume implements engine.Engine.
func (g *group) Volume(id pinetree.VolumeID) (engine.Reader, error) {
	if _, ok := g.Position().Volumes[id]; !ok {
		return nil, fmt.Errorf("%w: volume %d is not in group %d", pinetree.ErrUnknownVolume, id, g.id)
	}
	return &reader{group: g, id: id}, nil
}
