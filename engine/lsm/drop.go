package lsm

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/lsm/backlog"
	"github.com/pinetree-db/pinetree/engine/lsm/drops"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

const (
	// dropPause is how long the dropper rests after each commit, so that
	// the groups' own writes do not stand behind it.
	dropPause = 2 * time.Millisecond
	// dropRetry is how long it waits after an error such as a full disk.
	dropRetry = 5 * time.Second
)

// dropper deletes the generations and volumes that are noted for it: those of removed
// groups, those that a restore replaced, and what is left of restores that did
// not commit; and what no read needs of volumes that were truncated. It is one
// goroutine, started by Open and ended by Close, and the only one that deletes
// data. So it also is the one that shortens chains, of which nothing is deleted
// meanwhile.
type dropper struct {
	wake chan struct{}   // of capacity one
	long chan shortening // of capacity maxShortenings
	stop chan struct{}
	done chan struct{}
	once sync.Once // closes stop
	// backlog is the goroutine's, but for what writers ask it.
	backlog backlog.Backlog
}

// start begins the goroutine, unless there is nothing that it may delete.
func (d *dropper) start(s *Store, idle bool) {
	d.wake, d.long = make(chan struct{}, 1), make(chan shortening, maxShortenings)
	d.stop, d.done = make(chan struct{}), make(chan struct{})
	if idle {
		close(d.done)
		return
	}
	d.kick()
	go func() {
		defer close(d.done)
		timer := time.NewTimer(backlog.AskEvery)
		defer timer.Stop()
		for {
			select {
			case wish := <-d.long:
				s.shortenWaiting(wish)
				continue
			case <-d.wake:
			case <-timer.C:
			case <-d.stop:
				return
			}
			next, err := s.tidy()
			if err != nil {
				return
			}
			timer.Reset(next)
		}
	}()
}

// tidy deletes what is noted and gives space back, and says when to do so
// again. After its error nothing can be written any more.
func (s *Store) tidy() (next time.Duration, err error) {
	dropped, err := s.dropAll()
	if err == nil {
		err = s.emptyTrash()
	}
	for more := true; more && err == nil; dropped = false {
		s.dropper.backlog.Begin()
		var trimmed int
		trimmed, more, err = s.trimSome() // with an error of one volume, the others are trimmed
		s.dropper.backlog.Removed(trimmed, more)
		if !errors.Is(err, pinetree.ErrStopped) {
			var failed error
			next, failed = s.reclaimDue(dropped, time.Now())
			err = errors.Join(err, failed)
		}
	}
	switch {
	case err == nil:
		return next, s.db.Failed()
	case errors.Is(err, pinetree.ErrStopped):
		return 0, err
	case s.db.Failed() != nil:
		return 0, err
	}
	s.traits.Log.Warn("cannot delete what is of no more use, will try again", "error", err)
	return dropRetry, nil
}

// kick has the notes looked at.
func (d *dropper) kick() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *dropper) end() {
	d.once.Do(func() { close(d.stop) })
	<-d.done
}

// dropAll drops what is noted, but not what is still being restored, and tells
// whether there was something.
func (s *Store) dropAll() (bool, error) {
	notes, err := s.droppable()
	for _, note := range notes {
		if err == nil {
			err = s.drop(note)
		}
	}
	return len(notes) > 0, err
}

// emptyTrash removes what the stored positions have no use for, and was too much to
// go with them.
func (s *Store) emptyTrash() error {
	s.mu.Lock()
	groups := slices.Collect(maps.Values(s.groups))
	s.mu.Unlock()
	for _, g := range groups {
		for g.trash.Has(g.Flushed().Index) {
			if err := s.emptySome(g); err != nil {
				return err
			}
			if err := s.dropPause(); err != nil {
				return err
			}
		}
	}
	return nil
}

// emptySome excludes what stores a position, or removes or replaces the group.
func (s *Store) emptySome(g *group) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.removed.Load() {
		g.trash.Clear()
	}
	gone := g.trash.Next(g.Flushed().Index, s.traits)
	if err := s.commitFreeing(gone); err != nil {
		return err
	}
	g.trash.Removed(gone)
	return nil
}

func (s *Store) droppable() ([]drops.Note, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	// Under the lock, for a restore that commits would take the note away and
	// be taken for none.
	s.mu.Lock()
	defer s.mu.Unlock()
	notes, err := drops.List(s.db, []byte{layout.DropKey})
	var free []drops.Note
	for _, note := range notes {
		if note.Volume != 0 && !s.unread(note.Group) {
			continue // when the snapshot ends
		}
		if r := s.restores[note.Group]; r == nil || r.note != note {
			free = append(free, note)
		}
	}
	return free, err
}

// unread tells that no snapshot of a group is open, which may be from before a volume
// was dropped. mu must be held.
func (s *Store) unread(id pinetree.GroupID) bool {
	g := s.groups[id]
	if g == nil {
		return true
	}
	g.trimming.mu.Lock()
	defer g.trimming.mu.Unlock()
	return g.trimming.snapshots == 0
}

// awaitReads returns when all reads of a group that had begun have ended: those that
// begin now do not see what its state has no more.
func (s *Store) awaitReads(id pinetree.GroupID) {
	s.mu.Lock()
	g := s.groups[id]
	s.mu.Unlock()
	if g != nil {
		g.reading.Lock()
		defer g.reading.Unlock()
	}
}

// drop deletes a generation, or a volume of one, and then, once that is surely on disk, the note:
// what is left of a generation without a note would show in the next one that
// has its number. The note is deleted once and not looked for again, for from
// then on the number may be taken anew, with a note of its own.
func (s *Store) drop(note drops.Note) error {
	if note.Volume != 0 {
		s.awaitReads(note.Group)
	}
	var err error
	for _, prefix := range note.Prefixes() {
		if err == nil {
			err = s.dropPrefix(prefix)
		}
	}
	if err == nil {
		err = s.db.Sync()
	}
	if err == nil {
		err = s.forget(note)
	}
	if err != nil {
		return fmt.Errorf("generation %d of group %d: %w", note.Generation, note.Group, err)
	}
	return nil
}

func (s *Store) dropPrefix(prefix []byte) error {
	for more := true; more; {
		var err error
		if more, err = s.dropSome(prefix); err != nil {
			return err
		}
		if err := s.dropPause(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) dropSome(prefix []byte) (more bool, err error) {
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.leave()
	return s.db.DeleteRange(prefix, layout.After(prefix))
}

func (s *Store) forget(note drops.Note) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	gone, err := drops.Deletions(s.db, note.Stem())
	if err != nil {
		return err
	}
	return s.commitFreeing(gone)
}

// reclaimDue gives space back when that is due, and says when to look again.
func (s *Store) reclaimDue(dropped bool, now time.Time) (next time.Duration, err error) {
	ask, much, next := s.dropper.backlog.Ask(dropped, now)
	if ask {
		err = s.reclaim(much)
	}
	return next, err
}

// reclaim gives back the space of the values that deletions, or compactions
// since the last time, left without a use.
func (s *Store) reclaim(dropped bool) error {
	reclaimer, ok := s.db.(sorted.Reclaimer)
	if !ok {
		return nil
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return reclaimer.Reclaim(dropped, s.dropPause)
}

// dropPause is an error when the store is being closed.
func (s *Store) dropPause() error { return s.rest(dropPause) }

// rest waits; it is an error when the store is being closed.
func (s *Store) rest(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-s.dropper.stop:
		return fmt.Errorf("%w: the %s engine in %s is closing", pinetree.ErrStopped, s.traits.Name, s.traits.Dir)
	}
}
