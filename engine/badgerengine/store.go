package badgerengine

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

// formatVersion is the version of the layout that doc.go describes.
const formatVersion = 2

// Store is an engine.Store in one badger database. Everything may be called
// by any goroutine.
type Store struct {
	db           *badger.DB
	dir          string
	log          *slog.Logger
	minFreeBytes int64

	// open is held for reading by whoever uses db, and for writing by Close:
	// badger unmaps its files, and a read of an unmapped file kills the
	// process.
	open   sync.RWMutex
	closed bool

	// mu guards groups and restores, and makes what creates, replaces and
	// removes groups exclude each other.
	mu       sync.Mutex
	groups   map[pinetree.GroupID]*group
	restores map[pinetree.GroupID]*restore // neither committed nor closed

	committer
	dropper dropper
	failed  failure
}

var _ engine.Store = (*Store)(nil)

// enter begins a use of db, which leave ends.
func (s *Store) enter() error {
	s.open.RLock()
	if s.closed {
		s.open.RUnlock()
		return fmt.Errorf("%w: the badger engine in %s is closed", pinetree.ErrStopped, s.dir)
	}
	return nil
}

func (s *Store) leave() { s.open.RUnlock() }

// fail stops all writes for good, and has everything checked when the directory
// is opened again.
func (s *Store) fail(err error) {
	if s.failed.set(fmt.Errorf("the badger engine in %s takes no more writes until it is opened again: %w", s.dir, err)) {
		s.distrust(err)
	}
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
	return s.commit(entries)
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
		return nil, fmt.Errorf("%w: group %d has no state in %s", pinetree.ErrUnknownGroup, id, s.dir)
	}
	g := newGroup(s, id, used)
	s.groups[id] = g
	return g, nil
}

// Groups implements engine.Store.
func (s *Store) Groups() ([]pinetree.GroupID, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	var ids []pinetree.GroupID
	err := s.scan([]byte{positionKey}, func(it *badger.Iterator) error {
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
// under way and for badger to write its memtable out. Snapshots and restores
// that are open fail from now on.
func (s *Store) Close() error {
	s.dropper.end()
	s.open.Lock()
	defer s.open.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("closing the badger engine in %s: %w", s.dir, err)
	}
	return nil
}

// prepare checks the format, or writes it into a new directory.
func (s *Store) prepare() error {
	if err := s.failed.get(); err != nil {
		return err // badger ignores a damaged table, which is data that is missing
	}
	format, err := s.get([]byte{formatKey})
	switch {
	case err == errNoValue:
		entries, err := appendValue(nil, []byte{formatKey}, []byte{formatVersion})
		if err != nil {
			return err
		}
		if err := s.commit(entries); err != nil {
			return err
		}
	case err != nil:
		return err
	case len(format) != 1 || format[0] != formatVersion:
		return &pinetree.CorruptError{Where: s.dir, What: fmt.Sprintf("format %x, this build reads %x", format, formatVersion)}
	}
	return nil
}

var errNoValue = fmt.Errorf("%w: no such key in badger", pinetree.ErrNotFound)

// get reads one value; errNoValue when it is not there.
func (s *Store) get(stem []byte) (value []byte, err error) {
	err = s.scan(stem, func(it *badger.Iterator) error {
		if it.Rewind(); !it.Valid() {
			return errNoValue
		}
		value, err = readValue(it)
		return err
	})
	return value, err
}

// scan calls fn with an iterator over the keys of a prefix.
func (s *Store) scan(prefix []byte, fn func(*badger.Iterator) error) (err error) {
	defer s.panicIsDamage(&err)
	txn := s.db.NewTransactionAt(newest, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	return fn(it)
}

// Verify reads all tables and checks badger's checksum of each block: a
// *pinetree.CorruptError names the first that is damaged. Reads check every
// value that they meet; what they cannot see is a value that is missing
// because its key was damaged, and that is what Verify finds. It reads
// everything there is, beside other reads and writes.
func (s *Store) Verify() (err error) {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	defer s.panicIsDamage(&err)
	if err := s.db.VerifyChecksum(); err != nil {
		return &pinetree.CorruptError{Where: s.dir, What: err.Error()}
	}
	return nil
}

// panicIsDamage makes an error of badger's panic on a block whose structure is
// damaged, so that one bad block does not end a node and all its groups.
func (s *Store) panicIsDamage(err *error) {
	if p := recover(); p != nil {
		*err = &pinetree.CorruptError{Where: s.dir, What: fmt.Sprintf("badger cannot read a block: %v", p)}
	}
}
