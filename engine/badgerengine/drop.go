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
	err = s.scan(prefix, func(it *badger.Iterator) error {
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
		for d.sleep(d.wake, 0) {
			for err := s.dropAll(); err != nil; err = s.dropAll() {
				if errors.Is(err, pinetree.ErrStopped) || s.failed.get() != nil {
					return
				}
				s.log.Warn("cannot delete what is of no more use, will try again", "error", err)
				if !d.sleep(nil, dropRetry) {
					return
				}
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

// sleep waits for a signal or for a time, whichever is given; false when the
// dropper is to end.
func (d *dropper) sleep(signal chan struct{}, most time.Duration) bool {
	var timer <-chan time.Time
	if most > 0 {
		timer = time.After(most)
	}
	select {
	case <-signal:
	case <-timer:
	case <-d.stop:
		return false
	}
	return true
}

func (d *dropper) end() {
	d.once.Do(func() { close(d.stop) })
	<-d.done
}

// dropAll drops what is noted, but not what is still being restored.
func (s *Store) dropAll() error {
	notes, err := s.droppable()
	for _, note := range notes {
		if err == nil {
			err = s.drop(note)
		}
	}
	return err
}

func (s *Store) droppable() ([]dropNote, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
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

// drop deletes a generation and then the note, which must not go first: what
// is left of a generation without a note would show in the next one that has
// its number.
func (s *Store) drop(note dropNote) error {
	for _, prefix := range [][]byte{generationKey(dataKey, note.group, note.generation), generationKey(dropKey, note.group, note.generation)} {
		for {
			n, err := s.dropSome(prefix)
			if err != nil {
				return fmt.Errorf("generation %d of group %d: %w", note.generation, note.group, err)
			}
			if n == 0 {
				break
			}
			if !s.dropper.sleep(nil, dropPause) {
				return fmt.Errorf("%w: the badger engine in %s is closing", pinetree.ErrStopped, s.dir)
			}
		}
	}
	return nil
}

func (s *Store) dropSome(prefix []byte) (int, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	gone, err := s.deletions(prefix)
	if err != nil || len(gone) == 0 {
		return 0, err
	}
	return len(gone), s.commitFreeing(gone)
}

// deletions lists the first keys of a prefix, as removals.
func (s *Store) deletions(prefix []byte) ([]entry, error) {
	var gone []entry
	err := s.scan(prefix, func(it *badger.Iterator) error {
		for it.Rewind(); it.Valid() && len(gone) < maxDeletions; it.Next() {
			gone = append(gone, entry{key: it.Item().KeyCopy(nil), remove: true})
		}
		return nil
	})
	return gone, err
}
