package lsm

import (
	"fmt"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/drops"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
)

// restore writes a generation that nobody reads until Commit. The note that it
// has to be dropped is on disk before its first entry, and goes in the
// transaction that makes it the group's.
type restore struct {
	store *Store
	note  drops.Note

	mu     sync.Mutex // held by each call; the store's mu comes before it
	next   *state     // what Commit makes the group's
	chunks *engine.ChunkReader
	logs   *layout.LogCheck
	failed error // after which nothing is written
}

// Restore implements engine.Store.
func (s *Store) Restore(id pinetree.GroupID, at pinetree.Position) (engine.Restore, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.restores[id] != nil {
		return nil, fmt.Errorf("%w: group %d is being restored already", pinetree.ErrQueueFull, id)
	}
	used, err := s.state(id)
	if err != nil {
		return nil, err
	}
	fresh, err := s.freshGeneration(id, used)
	if err != nil {
		return nil, err
	}
	r := &restore{
		store: s, note: drops.Note{Group: id, Generation: fresh},
		next:   &state{generation: fresh, position: at.Clone()},
		chunks: engine.NewChunkReader(engine.StreamOf(s.traits.Name, at)), logs: layout.NewLogCheck(at),
	}
	r.next.position.Restored = at.Index
	note, err := r.note.Entries()
	if err != nil {
		return nil, err
	}
	if err := s.commitDurably(note); err != nil {
		return nil, err
	}
	s.restores[id] = r
	return r, nil
}

// Write implements engine.Restore.
func (r *restore) Write(chunk []byte) error {
	if err := r.store.enter(); err != nil {
		return err
	}
	defer r.store.leave()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = r.write(chunk)
	}
	return r.failed
}

func (r *restore) write(chunk []byte) error {
	body, err := r.chunks.Open(chunk)
	if err != nil {
		return err
	}
	prefix := layout.GenerationKey(layout.DataKey, r.note.Group, r.note.Generation)
	var entries []entry
	for len(body) > 0 {
		var key, value []byte
		if key, value, body, err = layout.CutItem(body); err != nil {
			return err
		}
		at, err := layout.ParseDataKey(key)
		if err != nil {
			return err
		}
		if err := r.logs.See(at, value); err != nil {
			return err
		}
		entries = append(entries, layout.SealChunk(append(prefix[:len(prefix):len(prefix)], key...), value))
	}
	for _, run := range r.store.traits.Split(entries) {
		if err := r.store.commit(run); err != nil {
			return err
		}
	}
	return nil
}

// Commit implements engine.Restore. It syncs what the last Writes left unsynced.
func (r *restore) Commit() error {
	if err := r.store.enter(); err != nil {
		return err
	}
	defer r.store.leave()
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = r.commit()
	}
	if r.failed != nil {
		return r.failed
	}
	r.failed = fmt.Errorf("%w: the restore of group %d was committed", pinetree.ErrStopped, r.note.Group)
	r.forget()
	return nil
}

// commit writes the new state, takes back the note that it has to be dropped,
// and leaves one for the old state, all in one transaction.
func (r *restore) commit() error {
	if err := r.chunks.Check(); err != nil {
		return err
	}
	if err := r.logs.End(); err != nil {
		return err
	}
	s, id := r.store, r.note.Group
	if _, err := s.loadMeta(id, r.next); err != nil {
		return err
	}
	used, err := s.state(id)
	if err != nil {
		return err
	}
	old, err := s.replacement(id, used)
	if err != nil {
		return err
	}
	entries, err := drops.Deletions(s.db, layout.GenerationKey(layout.DropKey, id, r.note.Generation))
	if err != nil {
		return err
	}
	next, err := stateEntries(id, r.next)
	if err != nil {
		return err
	}
	if err := s.syncBefore(); err != nil { // the data before what points at it
		return err
	}
	if err := s.commitDurably(append(append(entries, old...), next...)); err != nil {
		return err
	}
	if g := s.groups[id]; g != nil {
		g.replace(r.next)
	}
	return nil
}

// Close implements engine.Restore. What was written is deleted in the
// background, or after the next Open.
func (r *restore) Close() error {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = fmt.Errorf("%w: the restore of group %d was closed", pinetree.ErrStopped, r.note.Group)
	r.forget()
	return nil
}

// end makes the restore fail because its group was removed. The store's mu must
// be held.
func (r *restore) end(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = why
	r.forget()
}

func (r *restore) forget() {
	if r.store.restores[r.note.Group] == r {
		delete(r.store.restores, r.note.Group)
		r.store.dropper.kick()
	}
}
