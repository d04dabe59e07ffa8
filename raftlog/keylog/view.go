package keylog

import (
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
)

// view is a raftlog.View: a name to look up, so that it outlives its log.
type view struct {
	store *Store
	group pinetree.GroupID
}

// nothing is the log of a group that is not there.
var nothing groupLog

// log is the group's log. The store's lock must be held.
func (v view) log() *groupLog {
	if g := v.store.groups[v.group]; g != nil {
		return g
	}
	return &nothing
}

// HardState implements raftlog.View.
func (v view) HardState() (*raftpb.HardState, error) {
	v.store.mu.RLock()
	h := v.log().hard
	v.store.mu.RUnlock()
	return &raftpb.HardState{Term: &h.term, Vote: &h.vote, Commit: &h.commit}, nil
}

// Term implements raftlog.View.
func (v view) Term(i uint64) (uint64, error) {
	v.store.mu.RLock()
	defer v.store.mu.RUnlock()
	g := v.log()
	switch {
	case i < uint64(g.start.Index):
		return 0, raftlog.ErrCompacted
	case i == uint64(g.start.Index):
		return uint64(g.start.Term), nil
	case i > g.last():
		return 0, raftlog.ErrUnavailable
	}
	return g.term(i), nil
}

// LastIndex implements raftlog.View.
func (v view) LastIndex() (uint64, error) {
	v.store.mu.RLock()
	defer v.store.mu.RUnlock()
	return v.log().last(), nil
}

// FirstIndex implements raftlog.View.
func (v view) FirstIndex() (uint64, error) {
	v.store.mu.RLock()
	defer v.store.mu.RUnlock()
	return v.log().first(), nil
}

// Entries reads from the database, but for what still waits to be written.
// What compaction or an overwrite takes away meanwhile is looked for again.
func (v view) Entries(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error) {
	for range maxTries {
		entries, again, err := v.entries(span{lo, hi}, maxBytes)
		if !again {
			return entries, err
		}
	}
	return nil, &pinetree.CorruptError{
		Where: fmt.Sprintf("raft log of group %d", v.group), What: fmt.Sprintf("not all entries in [%d, %d) are in the database", lo, hi),
	}
}

// maxTries is far more than a writer can get in the way.
const maxTries = 100

// errEnough ends a scan.
var errEnough = errors.New("enough")

// reading is a call of Entries.
type reading struct {
	next, hi uint64
	entries  []*raftpb.Entry
	enough   bool // the caller wants no more
}

// entries is one try. It is to be made again when the log is not what it was
// when the try began.
func (v view) entries(which span, maxBytes uint64) (got []*raftpb.Entry, again bool, err error) {
	s, lo, hi := v.store, which.lo, which.hi
	s.open.RLock()
	defer s.open.RUnlock()
	s.mu.RLock()
	g := v.log()
	switch first, last := g.first(), g.last(); {
	case lo < first:
		err = raftlog.ErrCompacted
	case hi > last+1:
		err = raftlog.ErrUnavailable
	case s.closed:
		err = fmt.Errorf("raft log store is closed: %w", pinetree.ErrStopped)
	}
	if err != nil || lo >= hi {
		s.mu.RUnlock()
		return nil, false, err
	}
	terms := slices.Clone(g.terms[lo-g.first() : hi-g.first()])
	var tail []*raftpb.Entry // what waits is always the log's end
	for i := hi; i > lo && s.waiting[entryID{v.group, i - 1}] != nil; i-- {
		tail = append(tail, s.waiting[entryID{v.group, i - 1}])
	}
	s.mu.RUnlock()
	slices.Reverse(tail)

	r := reading{next: lo, hi: hi - uint64(len(tail))}
	if r.next < r.hi {
		if err := v.scan(&r, maxBytes); err != nil {
			return nil, false, err
		}
	}
	whole := r.next == r.hi
	got = append(r.entries, tail...)
	if !whole {
		got = r.entries
	}
	for i, e := range got {
		if e.GetTerm() != terms[i] {
			return nil, true, nil
		}
	}
	if !whole && !r.enough {
		return nil, true, nil
	}
	return fitting(got, maxBytes), false, nil
}

// scan reads entries until there are maxBytes of them.
func (v view) scan(r *reading, maxBytes uint64) error {
	from, to := entryRange(v.group, span{r.next, r.hi})
	bytes := uint64(0)
	err := v.store.db.Scan(from, to, func(key, value []byte) error {
		_, index, piece, ok := readEntryKey(key)
		if !ok {
			return corrupt(key, "not the key of an entry")
		}
		if piece == 0 && index != r.next {
			return errEnough // it was changed meanwhile
		}
		if piece == 0 && bytes > maxBytes {
			r.enough = true
			return errEnough
		}
		rest, err := unseal(key, value)
		if err != nil {
			return err
		}
		term, kind, data, ok := readPiece(rest)
		if !ok {
			return corrupt(key, "not an entry")
		}
		bytes += uint64(len(data))
		if piece == 0 {
			e := &raftpb.Entry{Index: &index, Term: &term, Type: &kind}
			if len(data) > 0 {
				e.Data = slices.Clone(data)
			}
			r.entries, r.next = append(r.entries, e), r.next+1
			return nil
		}
		e := r.entries[len(r.entries)-1]
		e.Data = append(e.Data, data...)
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// entryOverhead is what an entry counts beside its data.
const entryOverhead = 8

// fitting is how many of the entries a reader gets: one at least, and no more
// than maxBytes.
func fitting(entries []*raftpb.Entry, maxBytes uint64) []*raftpb.Entry {
	bytes := uint64(0)
	for i, e := range entries {
		bytes += uint64(len(e.Data)) + entryOverhead
		if bytes > maxBytes && i > 0 {
			return entries[:i]
		}
	}
	return entries
}
