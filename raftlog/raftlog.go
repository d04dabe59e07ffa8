// Package raftlog is the contract of the raft log store: where a node keeps
// the raft entries and hard states of all its groups. It knows raft's types and
// what must be durable when; it knows no file. Backends are in the folders
// below, each checked by raftlogtest.
package raftlog

import (
	"errors"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
)

// ErrFailed is what every call returns after a write or an fsync failed. The
// store never retries on the same file: what it holds is what the disk will
// show after a restart, or less.
var ErrFailed = errors.New("raft log store has failed and takes no more writes")

// Store keeps the raft logs of all groups of one node and makes waiting groups
// durable with one fsync.
//
// Save, Compact, Remove and Probe are called by one goroutine at a time (the
// node's log writer); View, Groups and everything of a View may be called by
// any goroutine at any time.
type Store interface {
	// Save appends the updates of several groups, in order. On return all of
	// them are visible in their Views and, if any update has MustSync, all of
	// them and everything saved before are durable. An update of a group that
	// is not there creates it. After an error the state is that of ErrFailed.
	Save(updates []Update) error

	// View is the log of one group as raft reads it. For a group without any
	// update it is empty: InitialState is zero and FirstIndex is 1.
	View(group pinetree.GroupID) View

	// Groups lists the groups that have a log, in rising order.
	Groups() []pinetree.GroupID

	// Compact lets the store drop the group's entries up to and including
	// index, which it may do later. The term of index stays known. Compacting
	// what is already compacted, or beyond the last entry, changes nothing.
	Compact(group pinetree.GroupID, index pinetree.RaftIndex) error

	// Remove drops a group's log, durably on return.
	Remove(group pinetree.GroupID) error

	// Probe writes a few bytes that mean nothing and fsyncs them: proof that
	// the disk answers.
	Probe() error

	// Close releases the files. It fsyncs nothing that was not fsynced.
	Close() error
}

// Update is what one group's raft asks to be written, in raft's order.
type Update struct {
	Group pinetree.GroupID
	// HardState is nil when unchanged.
	HardState *raftpb.HardState
	// Entries follow on the log or overwrite its end: the first one's index is
	// at most one above the last index, and what was at and after it is gone.
	// They and their data are never changed by the caller afterwards.
	Entries []*raftpb.Entry
	// Sums, when not nil, are the CRC32Cs of the entries' data, for a store that
	// writes them down: the caller may know them without reading the data.
	Sums []uint32
	// Restart, when not nil, empties the log and lets it begin after this
	// point: the bootstrap of a group, or an installed snapshot.
	Restart *Point
	// MustSync tells that the caller waits for durability.
	MustSync bool
}

// Point is a place in a raft log.
type Point struct {
	Index pinetree.RaftIndex
	Term  pinetree.RaftTerm
}

// View is one group's log. It has the duties of raft.Storage but for
// membership and snapshots, which the engine keeps.
type View interface {
	// HardState is what was last saved.
	HardState() (*raftpb.HardState, error)
	// Entries returns entries [lo, hi), at least one if there is any, and no
	// more bytes than maxBytes after the first. raft.ErrCompacted below
	// FirstIndex, raft.ErrUnavailable above LastIndex. The entries must not be
	// changed.
	Entries(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error)
	// Term of the entry at i, which may be FirstIndex−1.
	Term(i uint64) (uint64, error)
	// LastIndex is FirstIndex−1 when the log is empty.
	LastIndex() (uint64, error)
	// FirstIndex is the first index that Entries can return.
	FirstIndex() (uint64, error)
}

// Errors of a View, as raft.Storage defines them.
var (
	ErrCompacted   = raft.ErrCompacted
	ErrUnavailable = raft.ErrUnavailable
)
