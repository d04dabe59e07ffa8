package lsm

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// formatVersion is the version of the layout that doc.go describes.
const formatVersion = 2

// Store is an engine.Store in one database. Everything may be called by any
// goroutine.
type Store struct {
	db     sorted.Database
	traits sorted.Traits

	// open is held for reading by whoever uses the database, and for writing by
	// Close: a database may unmap its files, and a read of an unmapped file kills
	// the process.
	open   sync.RWMutex
	closed bool

	// mu guards groups and restores, and makes what creates, replaces and
	// removes groups exclude each other.
	mu       sync.Mutex
	groups   map[pinetree.GroupID]*group
	restores map[pinetree.GroupID]*restore // neither committed nor closed

	flusher flusher
	dropper dropper
}

var _ engine.Store = (*Store)(nil)

// Open opens the store that is in a database, or makes one, and goes on in the
// background to delete what a crash left of removals and restores. A database
// that is damaged or of another format is an error. The database is the
// store's from now on, and is closed after an error. One that is read-only is left
// as it is, unchecked, and what is written to it is an error.
func Open(db sorted.Database) (*Store, error) {
	s := &Store{db: db, traits: db.Traits(), groups: map[pinetree.GroupID]*group{}, restores: map[pinetree.GroupID]*restore{}}
	err := s.checkFormat()
	if verifier, ok := db.(sorted.Verifier); ok && err == nil && !s.traits.ReadOnly {
		err = verifier.RegainTrust(s.Verify)
	}
	if err != nil {
		if closeErr := db.Close(); closeErr != nil {
			err = fmt.Errorf("%w (and closing it failed: %w)", err, closeErr)
		}
		return nil, fmt.Errorf("%s engine in %s: %w", s.traits.Name, s.traits.Dir, err)
	}
	s.dropper.start(s, s.traits.ReadOnly)
	return s, nil
}

// entry is a chunk of a value, or the removal of a key.
type entry = sorted.Entry

// enter begins a use of the database, which leave ends; pinetree.ErrStopped
// after Close.
func (s *Store) enter() error {
	s.open.RLock()
	if s.closed {
		s.open.RUnlock()
		return fmt.Errorf("%w: the %s engine in %s is closed", pinetree.ErrStopped, s.traits.Name, s.traits.Dir)
	}
	return nil
}

func (s *Store) leave() { s.open.RUnlock() }

// commit commits what a replay makes again after a crash.
func (s *Store) commit(entries []entry) error {
	return s.db.Commit(sorted.Change{Entries: entries})
}

// commitFreeing commits what makes room on the disk.
func (s *Store) commitFreeing(entries []entry) error {
	return s.db.Commit(sorted.Change{Entries: entries, Freeing: true, Rewrite: true})
}

func (s *Store) commitDurably(entries []entry) error {
	if err := s.db.Commit(sorted.Change{Entries: entries, Rewrite: true}); err != nil {
		return err
	}
	return s.db.Sync()
}

// Create implements engine.Store.
func (s *Store) Create(id pinetree.GroupID, start pinetree.Position) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	if used, err := s.state(id); used != nil || err != nil {
		return err
	}
	fresh, err := s.freshGeneration(id, nil)
	if err != nil {
		return err
	}
	entries, err := stateEntries(id, &state{generation: fresh, position: start})
	if err != nil {
		return err
	}
	return s.commitDurably(entries)
}

// Open implements engine.Store.
func (s *Store) Open(id pinetree.GroupID) (engine.Engine, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	g, err := s.group(id)
	if err != nil {
		return nil, err
	}
	return g, nil
}

// group finds a group or opens it.
func (s *Store) group(id pinetree.GroupID) (*group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[id]; g != nil {
		return g, nil
	}
	used, err := s.state(id)
	if err != nil {
		return nil, err
	}
	if used == nil {
		return nil, fmt.Errorf("%w: group %d has no state in %s", pinetree.ErrUnknownGroup, id, s.traits.Dir)
	}
	gone, err := s.loadMeta(id, used)
	if err != nil {
		return nil, err
	}
	g := newGroup(s, id, used)
	if err := g.discard(used, gone); err != nil {
		return nil, err
	}
	s.groups[id] = g
	if len(gone) > 0 || truncatesMore(pinetree.Position{}, used.position) {
		s.dropper.kick() // a crash may have left some of it
	}
	return g, nil
}

// Groups implements engine.Store.
func (s *Store) Groups() ([]pinetree.GroupID, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	var ids []pinetree.GroupID
	err := s.db.Scan([]byte{layout.PositionKey}, func(it sorted.Iterator) error {
		for it.Seek(nil); it.Valid(); it.Next() {
			key := it.Key()
			if len(key) != 1+8+layout.ChunkBytes {
				return layout.BadChunk(key, "not the key of a group")
			}
			if id := pinetree.GroupID(binary.BigEndian.Uint64(key[1:])); len(ids) == 0 || ids[len(ids)-1] != id {
				ids = append(ids, id)
			}
		}
		return nil
	})
	return ids, err
}

// Close implements engine.Store. It waits for the reads and writes that are
// under way. It does not flush. Snapshots and restores that are open fail from
// now on.
func (s *Store) Close() error {
	s.dropper.end()
	s.open.Lock()
	defer s.open.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.db.Close()
}

// checkFormat checks the format, or writes it into a new directory.
func (s *Store) checkFormat() error {
	format, err := s.get([]byte{layout.FormatKey})
	switch {
	case err == errNoValue && !s.traits.ReadOnly:
		entries, err := layout.AppendValue(nil, []byte{layout.FormatKey}, []byte{formatVersion})
		if err != nil {
			return err
		}
		if err := s.commitDurably(entries); err != nil {
			return err
		}
	case err != nil:
		return err
	case len(format) != 1 || format[0] != formatVersion:
		return &pinetree.CorruptError{Where: s.traits.Dir, What: fmt.Sprintf("format %x, this build reads %x", format, formatVersion)}
	}
	return nil
}

var errNoValue = fmt.Errorf("%w: no such key", pinetree.ErrNotFound)

// get reads one value; errNoValue when it is not there.
func (s *Store) get(stem []byte) (value []byte, err error) {
	err = s.db.Scan(stem, func(it sorted.Iterator) error {
		if it.Seek(nil); !it.Valid() {
			return errNoValue
		}
		value, err = layout.ReadValue(it)
		return err
	})
	return value, err
}
