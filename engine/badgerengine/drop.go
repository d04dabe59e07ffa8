package badgerengine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pinetree-db/pinetree"
)

const (
	// maxDeletions bounds one transaction of a drop.
	maxDeletions = 4096
	// dropPause is how long the dropper rests after each transaction, so that
	// the groups' own writes do not stand behind it.
	dropPause = 2 * time.Millisecond
	// dropRetry is how long it waits after an error such as a full disk.
	dropRetry = 5 * time.Second
	// reclaimEvery is how often value log files are looked at.
	reclaimEvery = 10 * time.Minute
)

// dropNote says that a generation is of no more use, or is being restored.
type dropNote struct {
	group      pinetree.GroupID
	generation generation
}

func (n dropNote) entries() ([]entry, error) {
	return appendValue(nil, generationKey(dropKey, n.group, n.generation), nil)
}

// dropNotes lists the notes under a prefix.
func (s *Store) dropNotes(prefix []byte) (notes []dropNote, err error) {
	err = s.db.Scan(prefix, func(it *badger.Iterator) error {
		for it.Rewind(); it.Valid(); it.Next() {
			key := it.Item().Key()
			if len(key) != 1+8+generationBytes+chunkBytes {
				return badChunk(key, "not the note of a generation")
			}
			notes = append(notes, dropNote{
				group:      pinetree.GroupID(binary.BigEndian.Uint64(key[1:])),
				generation: generation(binary.BigEndian.Uint32(key[9:])),
			})
		}
		return nil
	})
	return notes, err
}

// dropper deletes the generations that are noted for it: those of removed
// groups, those that a restore replaced, and what is left of restores that did
// not commit. It is one goroutine, started by Open and ended by Close, and the
// only one that deletes data. Keys are deleted one by one: badger's DropPrefix
// would refuse the writes of every group meanwhile.
type dropper struct {
	wake chan struct{} // of capacity one
	stop chan struct{}
	done chan struct{}
	once sync.Once // closes stop
}

func (d *dropper) start(s *Store) {
	d.wake, d.stop, d.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	d.kick()
	go func() {
		defer close(d.done)
		for next := reclaimEvery; d.sleep(d.wake, next); {
			next = reclaimEvery
			dropped, err := s.dropAll()
			if err == nil {
				err = s.reclaim(dropped)
			}
			if errors.Is(err, pinetree.ErrStopped) || s.db.Failed() != nil {
				return
			}
			if err != nil {
				s.db.Log().Warn("cannot delete what is of no more use, will try again", "error", err)
				next = dropRetry
			}
		}
	}()
}

// kick has the notes looked at.
func (d *dropper) kick() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// sleep waits for a signal, but not for longer than a time; false when the
// dropper is to end.
func (d *dropper) sleep(signal chan struct{}, most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-signal:
	case <-timer.C:
	case <-d.stop:
		return false
	}
	return true
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

func (s *Store) droppable() ([]dropNote, error) {
	if err := s.db.Enter(); err != nil {
		return nil, err
	}
	defer s.db.Leave()
	// Under the lock, for a restore that commits would take the note away and
	// be taken for none.
	s.mu.Lock()
	defer s.mu.Unlock()
	notes, err := s.dropNotes([]byte{dropKey})
	var free []dropNote
	for _, note := range notes {
		if r := s.restores[note.group]; r == nil || r.note != note {
			free = append(free, note)
		}
	}
	return free, err
}

// drop deletes a generation and then, once that is surely on disk, the note:
// what is left of a generation without a note would show in the next one that
// has its number. The note is deleted once and not looked for again, for from
// then on the number may be taken anew, with a note of its own.
func (s *Store) drop(note dropNote) error {
	err := s.dropRange(generationKey(dataKey, note.group, note.generation))
	if err == nil {
		err = s.db.Sync()
	}
	if err == nil {
		_, err = s.dropSome(generationKey(dropKey, note.group, note.generation))
	}
	if err != nil {
		return fmt.Errorf("generation %d of group %d: %w", note.generation, note.group, err)
	}
	return nil
}

func (s *Store) dropRange(prefix []byte) error {
	for {
		n, err := s.dropSome(prefix)
		if n == 0 || err != nil {
			return err
		}
		if err := s.dropPause(); err != nil {
			return err
		}
	}
}

func (s *Store) dropSome(prefix []byte) (int, error) {
	if err := s.db.Enter(); err != nil {
		return 0, err
	}
	defer s.db.Leave()
	gone, err := s.deletions(prefix)
	if err != nil || len(gone) == 0 {
		return 0, err
	}
	return len(gone), s.db.CommitFreeing(gone)
}

// reclaim gives back the space of the values that deletions, or compactions
// since the last time, left without a use.
func (s *Store) reclaim(dropped bool) error {
	if dropped {
		if err := s.db.Settle(); err != nil {
			return err
		}
	}
	for {
		rewritten, err := s.db.RewriteOne()
		if !rewritten || err != nil {
			return err
		}
		if err := s.dropPause(); err != nil {
			return err
		}
	}
}

// dropPause is an error when the store is being closed.
func (s *Store) dropPause() error {
	if !s.dropper.sleep(nil, dropPause) {
		return fmt.Errorf("%w: the badger engine in %s is closing", pinetree.ErrStopped, s.db.Dir())
	}
	return nil
}

// deletions lists the first keys of a prefix, as removals.
func (s *Store) deletions(prefix []byte) ([]entry, error) {
	var gone []entry
	err := s.db.Scan(prefix, func(it *badger.Iterator) error {
		for it.Rewind(); it.Valid() && len(gone) < maxDeletions; it.Next() {
			gone = append(gone, entry{Key: it.Item().KeyCopy(nil), Remove: true})
		}
		return nil
	})
	return gone, err
}
