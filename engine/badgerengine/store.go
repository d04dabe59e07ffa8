package badgerengine

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/badgerengine/database"
)

// formatVersion is the version of the layout that doc.go describes.
const formatVersion = 2

// Store is an engine.Store in one badger database. Everything may be called
// by any goroutine.
type Store struct {
	db *database.DB

	// mu guards groups and restores, and makes what creates, replaces and
	// removes groups exclude each other.
	mu       sync.Mutex
	groups   map[pinetree.GroupID]*group
	restores map[pinetree.GroupID]*restore // neither committed nor closed

	flusher flusher
	dropper dropper
}

var _ engine.Store = (*Store)(nil)

// Options of a Store.
type Options = database.Options

// Open opens the store in a directory, or makes one, and goes on in the
// background to delete what a crash left of removals and restores. A directory
// that is open elsewhere, damaged or of another format is an error.
func Open(o Options) (*Store, error) {
	db, err := database.Open(o)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, groups: map[pinetree.GroupID]*group{}, restores: map[pinetree.GroupID]*restore{}}
	err = s.checkFormat()
	if err == nil {
		err = db.RegainTrust(s.Verify)
	}
	if err != nil {
		if closeErr := db.Close(); closeErr != nil {
			err = fmt.Errorf("%w (and closing it failed: %w)", err, closeErr)
		}
		return nil, fmt.Errorf("badger engine in %s: %w", o.Dir, err)
	}
	s.dropper.start(s)
	return s, nil
}

// Create implements engine.Store.
func (s *Store) Create(id pinetree.GroupID, start pinetree.Position) error {
	if err := s.db.Enter(); err != nil {
		return err
	}
	defer s.db.Leave()
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
	return s.db.CommitDurably(entries)
}

// Open implements engine.Store.
func (s *Store) Open(id pinetree.GroupID) (engine.Engine, error) {
	if err := s.db.Enter(); err != nil {
		return nil, err
	}
	defer s.db.Leave()
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
		return nil, fmt.Errorf("%w: group %d has no state in %s", pinetree.ErrUnknownGroup, id, s.db.Dir())
	}
	g := newGroup(s, id, used)
	s.groups[id] = g
	return g, nil
}

// Groups implements engine.Store.
func (s *Store) Groups() ([]pinetree.GroupID, error) {
	if err := s.db.Enter(); err != nil {
		return nil, err
	}
	defer s.db.Leave()
	var ids []pinetree.GroupID
	err := s.db.Scan([]byte{positionKey}, func(it *badger.Iterator) error {
		for it.Rewind(); it.Valid(); it.Next() {
			key := it.Item().Key()
			if len(key) != 1+8+chunkBytes {
				return badChunk(key, "not the key of a group")
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
// under way and for badger to write its memtable out. It does not flush. Snapshots and restores
// that are open fail from now on.
func (s *Store) Close() error {
	s.dropper.end()
	return s.db.Close()
}

// checkFormat checks the format, or writes it into a new directory.
func (s *Store) checkFormat() error {
	format, err := s.get([]byte{formatKey})
	switch {
	case err == errNoValue:
		entries, err := appendValue(nil, []byte{formatKey}, []byte{formatVersion})
		if err != nil {
			return err
		}
		if err := s.db.CommitDurably(entries); err != nil {
			return err
		}
	case err != nil:
		return err
	case len(format) != 1 || format[0] != formatVersion:
		return &pinetree.CorruptError{Where: s.db.Dir(), What: fmt.Sprintf("format %x, this build reads %x", format, formatVersion)}
	}
	return nil
}

var errNoValue = fmt.Errorf("%w: no such key in badger", pinetree.ErrNotFound)

// get reads one value; errNoValue when it is not there.
func (s *Store) get(stem []byte) (value []byte, err error) {
	err = s.db.Scan(stem, func(it *badger.Iterator) error {
		if it.Rewind(); !it.Valid() {
			return errNoValue
		}
		value, err = readValue(it)
		return err
	})
	return value, err
}
