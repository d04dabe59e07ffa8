package keylog

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
)

// Database is an ordered key-value store.
type Database interface {
	// Apply makes the changes, in order. On return they are visible, and, if
	// sync, durable with all that was applied before. Changes are the caller's
	// again after it has returned. After an error it is not called again.
	Apply(changes []Change, sync bool) error
	// Scan calls fn with the keys in [from, to) and their values, in order,
	// until fn returns an error, which it passes on. Key and value are valid
	// during the call. It may be called by any goroutine.
	Scan(from, to []byte, fn func(key, value []byte) error) error
	// Close releases the database. Nothing else is called any more.
	Close() error
}

// Change is a value for a key, or, with End, the deletion of all keys in
// [Key, End).
type Change struct {
	Key, Value, End []byte
}

// maxUnsynced bounds the bytes that wait in memory for the next synced update.
const maxUnsynced = 4 << 20

// Store is a raftlog.Store in a Database. See the package comment.
//
// The log writer, whoever calls Save and its like, is the only one that
// changes anything. What is below mu is changed with mu held.
type Store struct {
	db       Database
	failed   bool
	changes  []Change                    // visible, not yet in the database
	unsynced int                         // their bytes
	top      map[pinetree.GroupID]uint64 // no entry above it has a key
	buried   map[pinetree.GroupID]uint64 // entries from here on were compacted and not yet deleted

	mu     sync.RWMutex
	groups map[pinetree.GroupID]*groupLog
	// waiting are the entries of changes, so that Views find them.
	waiting map[entryID]*raftpb.Entry
	closed  bool
	// open is held for reading by those who read the database, so that Close
	// waits for them.
	open sync.RWMutex
}

type entryID struct {
	group pinetree.GroupID
	index uint64
}

var _ raftlog.Store = (*Store)(nil)

// Open makes a store of a database, which it closes in Close, and also when it
// fails.
func Open(db Database) (*Store, error) {
	s := &Store{
		db: db, groups: map[pinetree.GroupID]*groupLog{}, buried: map[pinetree.GroupID]uint64{}, top: map[pinetree.GroupID]uint64{},
		waiting: map[entryID]*raftpb.Entry{},
	}
	if err := s.load(); err != nil {
		db.Close()
		return nil, err
	}
	return s, nil
}

// Save implements raftlog.Store.
func (s *Store) Save(updates []raftlog.Update) error {
	if err := s.usable(); err != nil {
		return err
	}
	if len(updates) == 0 {
		return nil
	}
	staged, err := s.stage(updates)
	if err != nil {
		return s.fail(err)
	}
	sync := false
	for i := range updates {
		s.write(&updates[i])
		sync = sync || updates[i].MustSync
	}
	s.mu.Lock()
	for i := range updates {
		u := &updates[i]
		for _, e := range u.Entries {
			s.waiting[entryID{u.Group, e.GetIndex()}] = e
		}
	}
	maps.Copy(s.groups, staged)
	s.mu.Unlock()
	for group := range staged {
		s.writeState(group)
	}
	if sync || s.unsynced > maxUnsynced {
		return s.flush(sync)
	}
	return nil
}

// stage checks the updates and makes the logs that they lead to.
func (s *Store) stage(updates []raftlog.Update) (map[pinetree.GroupID]*groupLog, error) {
	staged := map[pinetree.GroupID]*groupLog{}
	for i := range updates {
		u := &updates[i]
		if u.Group == 0 {
			return nil, fmt.Errorf("update %d is for group 0, which is no group", i)
		}
		g := staged[u.Group]
		if g == nil {
			g = &groupLog{}
			if old := s.groups[u.Group]; old != nil {
				// What is appended is beyond what readers of the old one see.
				*g = *old
			}
			staged[u.Group] = g
		}
		if u.Restart != nil {
			g.start, g.terms = *u.Restart, nil
		}
		if wrong := g.check(u.Entries); wrong != "" {
			return nil, fmt.Errorf("raft log of group %d: %s", u.Group, wrong)
		}
		if n := len(u.Entries); n > 0 && u.Entries[0].GetIndex() <= g.last() {
			g.terms = slices.Clone(g.terms[:u.Entries[0].GetIndex()-g.first()])
		}
		g.apply(u)
	}
	return staged, nil
}

// write adds to the changes that wait what an update deletes and its entries.
func (s *Store) write(u *raftlog.Update) {
	top := s.top[u.Group]
	if u.Restart != nil && top > 0 {
		s.erase(u.Group, span{0, top + 1})
		delete(s.buried, u.Group)
		top = 0
	}
	if n := len(u.Entries); n > 0 {
		// Whatever was there from the first one on is gone, pieces included.
		if first := u.Entries[0].GetIndex(); first <= top {
			s.erase(u.Group, span{first, top + 1})
		}
		top = u.Entries[n-1].GetIndex()
	}
	s.top[u.Group] = top
	for _, e := range u.Entries {
		from := len(s.changes)
		s.changes = appendEntry(s.changes, u.Group, e)
		for _, c := range s.changes[from:] {
			s.unsynced += len(c.Key) + len(c.Value)
		}
	}
}

// span are the indexes [lo, hi).
type span struct{ lo, hi uint64 }

func (s *Store) erase(group pinetree.GroupID, which span) {
	from, to := entryRange(group, which)
	s.put(Change{Key: from, End: to})
}

func (s *Store) put(c Change) {
	s.changes = append(s.changes, c)
	s.unsynced += len(c.Key) + len(c.Value) + len(c.End)
}

// writeState adds a group's state, and the deletion of what it has compacted,
// to the changes that wait.
func (s *Store) writeState(group pinetree.GroupID) {
	g := s.groups[group]
	if from, there := s.buried[group]; there {
		s.erase(group, span{from, g.first()})
		delete(s.buried, group)
	}
	key := stateKey(group)
	s.put(Change{Key: key, Value: seal(key, appendState(make([]byte, 4), g.hard, g.start))})
}

// flush gives the database what waits.
func (s *Store) flush(sync bool) error {
	for group := range s.buried {
		s.writeState(group)
	}
	if err := s.db.Apply(s.changes, sync); err != nil {
		return s.fail(err)
	}
	s.mu.Lock()
	clear(s.waiting)
	s.mu.Unlock()
	clear(s.changes)
	s.changes, s.unsynced = s.changes[:0], 0
	return nil
}

// Compact drops entries from the group's View. They are deleted with the next
// update that is written.
func (s *Store) Compact(group pinetree.GroupID, index pinetree.RaftIndex) error {
	if err := s.usable(); err != nil {
		return err
	}
	g := s.groups[group]
	if g == nil || uint64(index) < g.first() || uint64(index) > g.last() {
		return nil
	}
	if _, there := s.buried[group]; !there {
		s.buried[group] = g.first()
	}
	s.mu.Lock()
	g.compact(raftlog.Point{Index: index, Term: pinetree.RaftTerm(g.term(uint64(index)))})
	s.mu.Unlock()
	return nil
}

// Remove implements raftlog.Store.
func (s *Store) Remove(group pinetree.GroupID) error {
	if err := s.usable(); err != nil {
		return err
	}
	if s.groups[group] == nil {
		return nil
	}
	key := stateKey(group)
	s.put(Change{Key: key, End: append(key, 0)})
	s.erase(group, span{0, s.top[group] + 1})
	delete(s.buried, group)
	delete(s.top, group)
	if err := s.flush(true); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.groups, group)
	s.mu.Unlock()
	return nil
}

// Probe implements raftlog.Store.
func (s *Store) Probe() error {
	if err := s.usable(); err != nil {
		return err
	}
	s.put(Change{Key: []byte{keyProbe}, Value: []byte{0}})
	return s.flush(true)
}

// View implements raftlog.Store.
func (s *Store) View(group pinetree.GroupID) raftlog.View { return view{s, group} }

// Groups implements raftlog.Store.
func (s *Store) Groups() []pinetree.GroupID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.groups))
}

// Close gives the database what waits and closes it. A read that is under way
// ends well.
func (s *Store) Close() error {
	s.mu.Lock()
	already := s.closed
	s.closed = true
	s.mu.Unlock()
	if already {
		return nil
	}
	var err error
	if !s.failed && len(s.changes)+len(s.buried) > 0 {
		err = s.flush(false)
	}
	s.open.Lock()
	defer s.open.Unlock()
	return errors.Join(err, s.db.Close())
}

func (s *Store) usable() error {
	switch {
	case s.closed:
		return fmt.Errorf("raft log store is closed: %w", pinetree.ErrStopped)
	case s.failed:
		return raftlog.ErrFailed
	}
	return nil
}

// fail ends the store's life as a writer.
func (s *Store) fail(cause error) error {
	s.failed = true
	return fmt.Errorf("%w: %w", raftlog.ErrFailed, cause)
}
