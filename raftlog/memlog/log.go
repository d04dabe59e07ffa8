package memlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
)

// log is one group's log. It is a value: save and compact return a changed
// copy and leave the old one as it was.
//
// Invariant: entries[i] has index start.Index + 1 + i.
type log struct {
	hardState hardState
	start     raftlog.Point // the point before the first entry
	entries   []*raftpb.Entry
}

type hardState struct{ term, vote, commit uint64 }

// last is the index of the last entry, or of the start.
func (l *log) last() uint64 { return uint64(l.start.Index) + uint64(len(l.entries)) }

// save applies an update, or says why it breaks the contract.
func (l log) save(u raftlog.Update) (log, error) {
	if u.Group == 0 {
		return l, errors.New("zero is no group")
	}
	if u.Restart != nil {
		l.start, l.entries = *u.Restart, nil
	}
	if u.HardState != nil {
		h := u.HardState
		l.hardState = hardState{h.GetTerm(), h.GetVote(), h.GetCommit()}
	}
	if len(u.Entries) == 0 {
		return l, nil
	}
	first := u.Entries[0].GetIndex()
	if first > l.last()+1 {
		return l, fmt.Errorf("entry %d would leave a hole after %d", first, l.last())
	}
	if first <= uint64(l.start.Index) {
		return l, fmt.Errorf("entry %d would overwrite what is compacted up to %d", first, l.start.Index)
	}
	for i, e := range u.Entries {
		if want := first + uint64(i); e.GetIndex() != want {
			return l, fmt.Errorf("entry %d comes where %d must", e.GetIndex(), want)
		}
	}
	keep := int(first - uint64(l.start.Index) - 1)
	if keep < len(l.entries) {
		// A copy: what follows is still the durable log's.
		l.entries = slices.Clone(l.entries[:keep])
	}
	l.entries = append(l.entries, u.Entries...)
	return l, nil
}

// canCompact tells whether index is that of an entry.
func (l *log) canCompact(index pinetree.RaftIndex) bool {
	return index > l.start.Index && uint64(index) <= l.last()
}

// compact drops the entries up to and including index, which canCompact has
// agreed to.
func (l log) compact(index pinetree.RaftIndex) log {
	n := int(index - l.start.Index)
	l.start = raftlog.Point{Index: index, Term: pinetree.RaftTerm(l.entries[n-1].GetTerm())}
	l.entries = slices.Clone(l.entries[n:])
	return l
}

// view is a raftlog.View: a name to look up, so that it outlives its log.
type view struct {
	store *Store
	group pinetree.GroupID
}

func (v view) read() log {
	v.store.mu.RLock()
	defer v.store.mu.RUnlock()
	return v.store.groups[v.group]
}

// HardState is what was last saved, as a copy.
func (v view) HardState() (*raftpb.HardState, error) {
	h := v.read().hardState
	return &raftpb.HardState{Term: &h.term, Vote: &h.vote, Commit: &h.commit}, nil
}

// Entries counts an entry's bytes as storepb encodes it.
func (v view) Entries(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error) {
	l := v.read()
	if lo <= uint64(l.start.Index) {
		return nil, raftlog.ErrCompacted
	}
	if hi > l.last()+1 {
		return nil, raftlog.ErrUnavailable
	}
	if lo >= hi {
		return nil, nil
	}
	found := l.entries[lo-uint64(l.start.Index)-1 : hi-uint64(l.start.Index)-1]
	size := uint64(0)
	for i, e := range found {
		size += encodedBytes(e)
		if size > maxBytes && i > 0 {
			found = found[:i]
			break
		}
	}
	return slices.Clone(found), nil
}

// Term of the entry at i, or of the start.
func (v view) Term(i uint64) (uint64, error) {
	l := v.read()
	switch {
	case i < uint64(l.start.Index):
		return 0, raftlog.ErrCompacted
	case i == uint64(l.start.Index):
		return uint64(l.start.Term), nil
	case i > l.last():
		return 0, raftlog.ErrUnavailable
	}
	return l.entries[i-uint64(l.start.Index)-1].GetTerm(), nil
}

// LastIndex is that of the last entry, or of the start.
func (v view) LastIndex() (uint64, error) {
	l := v.read()
	return l.last(), nil
}

// FirstIndex is one above the start.
func (v view) FirstIndex() (uint64, error) { return uint64(v.read().start.Index) + 1, nil }

// encodedBytes is what storepb.AppendEntry would append.
func encodedBytes(e *raftpb.Entry) uint64 {
	var buf [binary.MaxVarintLen64]byte
	size := 1 + len(e.Data)
	for _, n := range []uint64{e.GetIndex(), e.GetTerm(), uint64(len(e.Data))} {
		size += binary.PutUvarint(buf[:], n)
	}
	return uint64(size)
}
