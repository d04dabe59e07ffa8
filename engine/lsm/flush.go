package lsm

import (
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/lsm/drops"
)

// flusher writes positions. What Apply commits is not durable and names no
// position; a flush syncs it, commits the position that it leads to, and syncs
// again. So a stored position is never above what is surely there. The first
// sync is spared where commits become durable in order. Groups that wait for
// one another share one flush.
type flusher struct {
	queueMu sync.Mutex
	queue   []*flushing

	mu sync.Mutex // held by the one who flushes; guards the results
}

// flushing is a group's wish to have a state stored.
type flushing struct {
	group *group
	state *state
	noted bool // that there is something for the dropper
	done  bool
	err   error
}

// Flush implements engine.Engine.
func (g *group) Flush() (pinetree.Position, error) {
	s := g.store
	if err := s.enter(); err != nil {
		return g.Flushed(), err
	}
	defer s.leave()
	wish := &flushing{group: g, state: g.state.Load()}
	if wish.state == g.flushed.Load() {
		return g.Flushed(), s.db.Failed()
	}
	s.flusher.queueMu.Lock()
	s.flusher.queue = append(s.flusher.queue, wish)
	s.flusher.queueMu.Unlock()
	s.flusher.mu.Lock()
	defer s.flusher.mu.Unlock()
	if !wish.done {
		s.flushAll()
	}
	return g.Flushed(), wish.err
}

// flushAll stores what waits. The flusher's mu must be held.
func (s *Store) flushAll() {
	s.flusher.queueMu.Lock()
	wishes := s.flusher.queue
	s.flusher.queue = nil
	s.flusher.queueMu.Unlock()
	err := s.storeStates(wishes)
	for _, w := range wishes {
		if w.done, w.err = true, err; err == nil {
			before := w.group.flushed.Swap(w.state)
			if w.noted || truncatesMore(before.position, w.state.position) {
				s.dropper.kick()
			}
		}
	}
}

func (s *Store) storeStates(wishes []*flushing) error {
	if err := s.syncBefore(); err != nil {
		return err
	}
	for _, w := range wishes {
		if err := s.storeState(w); err != nil {
			return err
		}
	}
	return s.db.Sync()
}

// syncBefore sees to it that what was committed is durable before, or with,
// what is committed next.
func (s *Store) syncBefore() error {
	if s.traits.InOrder {
		return s.db.Failed()
	}
	return s.db.Sync()
}

// storeState excludes what removes the group, which must not come back.
func (s *Store) storeState(w *flushing) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.group.removed.Load() || w.group.state.Load().generation != w.state.generation {
		return nil
	}
	entries, err := stateEntries(w.group.id, w.state)
	if err != nil {
		return err
	}
	of := drops.Note{Group: w.group.id, Generation: w.state.generation}
	notes, lost, err := w.group.lost.Notes(of, w.state.position.Index)
	if err != nil {
		return err
	}
	entries = append(entries, notes...)
	trash := w.group.trash.Next(w.state.position.Index, s.traits)
	if err := s.commitFreeing(append(entries, trash...)); err != nil { // it lets the raft log go
		return err
	}
	w.group.trash.Removed(trash)
	w.group.lost.Noted(lost)
	w.noted = lost > 0 || w.group.trash.Has(w.state.position.Index)
	return nil
}
