// Package memlog is the raft log store in memory, for tests and the
// simulation. It knows which of its contents a disk would have kept, and
// forgets the rest on Crash. It has no goroutine, no clock and no file, so the
// same calls give the same answers.
package memlog

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
)

// Store is a raftlog.Store in memory. It promises no more than the contract
// does: only a Save with MustSync, and Remove for its group, make anything
// durable; Compact, Probe and Close make nothing durable.
//
// Invariants:
//
//	durable changed by the pending operations, in order, is groups
//	a log's entries up to their length are never written to again, so that
//	durable, pending, groups and readers share them
type Store struct {
	mu      sync.RWMutex
	groups  map[pinetree.GroupID]log
	durable map[pinetree.GroupID]log
	pending []operation
	failed  bool
}

// operation is an update or a compaction that a crash may undo.
type operation struct {
	group pinetree.GroupID
	after log // what it made of the group's log
}

// New makes an empty store.
func New() *Store {
	return &Store{groups: map[pinetree.GroupID]log{}, durable: map[pinetree.GroupID]log{}}
}

// Save appends the updates. One that breaks the contract is refused with an
// error that names group and index; then nothing of the call is saved and the
// store has failed.
func (s *Store) Save(updates []raftlog.Update) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed {
		return raftlog.ErrFailed
	}
	next := map[pinetree.GroupID]log{}
	operations := make([]operation, 0, len(updates))
	sync := false
	for _, u := range updates {
		l, seen := next[u.Group]
		if !seen {
			l = s.groups[u.Group]
		}
		l, err := l.save(u)
		if err != nil {
			s.failed = true
			return fmt.Errorf("raft log of group %d: %w", u.Group, err)
		}
		next[u.Group] = l
		operations = append(operations, operation{group: u.Group, after: l})
		sync = sync || u.MustSync
	}
	maps.Copy(s.groups, next)
	s.pending = append(s.pending, operations...)
	if sync {
		for _, o := range s.pending {
			s.durable[o.group] = s.groups[o.group]
		}
		s.pending = nil
	}
	return nil
}

// View is the log of one group, whatever becomes of it: it may be created,
// removed and created again later.
func (s *Store) View(group pinetree.GroupID) raftlog.View { return view{s, group} }

// Groups lists the groups that have a log, in rising order.
func (s *Store) Groups() []pinetree.GroupID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.groups))
}

// Compact drops the group's entries up to and including index, at once.
func (s *Store) Compact(group pinetree.GroupID, index pinetree.RaftIndex) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed {
		return raftlog.ErrFailed
	}
	l, ok := s.groups[group]
	if !ok || !l.canCompact(index) {
		return nil
	}
	l = l.compact(index)
	s.groups[group] = l
	s.pending = append(s.pending, operation{group: group, after: l})
	return nil
}

// Remove drops a group's log, and forgets that it ever was.
func (s *Store) Remove(group pinetree.GroupID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed {
		return raftlog.ErrFailed
	}
	delete(s.groups, group)
	delete(s.durable, group)
	s.pending = slices.DeleteFunc(s.pending, func(o operation) bool { return o.group == group })
	return nil
}

// Probe answers at once, and makes nothing durable.
func (s *Store) Probe() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.failed {
		return raftlog.ErrFailed
	}
	return nil
}

// Close does nothing: a store in memory has nothing to release, and goes on
// answering.
func (s *Store) Close() error { return nil }

// Crash forgets everything that no completed sync covers, as a power cut does,
// and mends a failed store, as a restart does. Views made before stay good.
func (s *Store) Crash() { s.CrashKeeping(0) }

// CrashKeeping is Crash on a disk that happened to keep the first `keep` of
// the unsynced operations: any prefix of them is what a power cut may leave.
func (s *Store) CrashKeeping(keep int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = false
	for _, o := range s.pending[:min(keep, len(s.pending))] {
		s.durable[o.group] = o.after
	}
	s.pending = nil
	for group, l := range s.durable {
		// Appends must not reuse the place of a forgotten entry that a reader
		// may still be looking at.
		l.entries = slices.Clip(l.entries)
		s.durable[group] = l
	}
	s.groups = maps.Clone(s.durable)
}

// Unsynced counts the operations, updates and compactions, that Crash would
// undo.
func (s *Store) Unsynced() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.pending)
}

// Fail makes the store behave as after a failed fsync: every later call of
// Save, Compact, Remove and Probe returns raftlog.ErrFailed, until Crash.
func (s *Store) Fail() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = true
}
