// Package engine is the contract of replayed state: what a replica's committed
// log becomes. It knows positions, batches and what must be atomic; it knows
// no file. Backends are in the folders below, each checked by enginetest.
package engine

import (
	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/meta"
)

// Store keeps the replayed state of all groups of one node. All calls may be
// made by any goroutine.
type Store interface {
	// Create makes the state of a new group as of the given position, durable
	// on return. A group that is there is left as it is.
	Create(group pinetree.GroupID, start pinetree.Position) error
	// Open returns the state of a group; pinetree.ErrUnknownGroup when it was
	// never created. Opening twice returns the same Engine.
	Open(group pinetree.GroupID) (Engine, error)
	// Groups lists the groups that were created, in rising order.
	Groups() ([]pinetree.GroupID, error)
	// Remove drops a group's state, durably on return. No Engine of the group
	// may be in use.
	Remove(group pinetree.GroupID) error
	// Snapshot opens the state of a group as of its last Apply, to be sent to
	// another replica; it stays readable while Apply goes on, until Close. When
	// the group is removed or its state replaced meanwhile, it may fail.
	// pinetree.ErrUnknownGroup when the group was never created.
	Snapshot(group pinetree.GroupID) (Snapshot, error)
	// Restore begins to take in the state of a group, which it creates if it is
	// not there, as of a position. Nothing of it is visible or survives a crash
	// before Commit. One at a time per group: another one is
	// pinetree.ErrQueueFull.
	Restore(group pinetree.GroupID, at pinetree.Position) (Restore, error)
	// Close ends the background work and releases the files.
	Close() error
}

// Formats is what a Store implements that does not keep volumes of every format.
type Formats interface {
	// Supports is an error that says which formats the store keeps, if it does
	// not keep this one. A volume that it does not support must not be created:
	// its first write would stop the replica.
	Supports(format pinetree.Format) error
}

// Snapshot is the state of a group at one moment. Its methods are called by one
// goroutine.
type Snapshot interface {
	// Position is that of the state.
	Position() pinetree.Position
	// Chunks calls fn with the pieces of the state in order, each at most
	// MaxChunkBytes long and fn's only during the call, until fn returns an
	// error, which it passes on. What is damaged is a *pinetree.CorruptError
	// and is not handed out. While fn runs, nothing is held that others wait
	// for.
	Chunks(fn func([]byte) error) error
	// Close lets go of the state.
	Close() error
}

// Restore takes in what a Snapshot gave out. Its methods are called by one
// goroutine. After an error only Close is of use.
type Restore interface {
	// Write takes the chunks of a Snapshot of the same backend and position, in
	// order. A chunk of another backend or out of order is an error that names
	// both; one that is damaged is a *pinetree.CorruptError. The chunk remains
	// the caller's.
	Write(chunk []byte) error
	// Commit replaces the group's state in one step, durable on return, once
	// the last chunk was written. It copies none of the data. The position is
	// the one that Restore was called with, and Restored in it is its Index.
	// After a crash the old state or the new one is there, whole. It is not
	// called at the same time as Apply or Flush of the group. Engines of the
	// group that were opened before show the new state; Readers from before go
	// on with one of the two or fail.
	Commit() error
	// Close throws away what was written, unless it was committed.
	Close() error
}

// Engine is the replayed state of one replica. Apply and Flush are called by
// one goroutine at a time; the rest may be called by any at any time.
type Engine interface {
	// Position is what was last applied. Its map must not be changed.
	Position() pinetree.Position
	// Apply replays a write: the records, the metadata and the new position become visible in
	// one step, and after a crash either all of the write is there or none of
	// it, with nothing of an earlier write missing. It may become durable
	// later. Writes come in rising Position.Index. After an error the engine
	// takes no more writes.
	//
	// A volume that the position has no more is gone with all that it had, for good:
	// its id is not used again. Its space comes back once that is flushed.
	Apply(w Write) error
	// Flush makes all that was applied durable and returns the position that
	// surely survives a crash.
	Flush() (pinetree.Position, error)
	// Flushed is the position that surely survives a crash.
	Flushed() pinetree.Position
	// Volume reads one volume; pinetree.ErrUnknownVolume when it is not in the
	// position.
	Volume(id pinetree.VolumeID) (Reader, error)
	// Meta is the metadata of one volume as of the last Apply, which goes on
	// without it; pinetree.ErrUnknownVolume when it is not in the position.
	Meta(id pinetree.VolumeID) (*meta.Table, error)
}

// Preparer is what an Engine implements that can do a part of a write's work
// while the write before is on its way.
type Preparer interface {
	// Prepare reads and computes what replaying a write takes, and changes nothing
	// that anybody sees. The apply that it returns is then called instead of
	// Apply, under the same rules and with the same result; one that does not come
	// right after the one of the write before is a *pinetree.CorruptError. Prepare
	// is called by one goroutine at a time, which may be another one than that of
	// Apply and Flush, and for writes in order; at most one that was prepared is
	// not applied yet, and none when a Restore of the group commits. After an error
	// no more writes are prepared, and the one before can be applied.
	Prepare(w Write) (apply func() error, err error)
}

// Write is what a run of raft entries changes. Nothing of it is changed by the
// caller afterwards.
type Write struct {
	// Position after the write.
	Position pinetree.Position
	// Batches to replay, each checked and known to be the next of its volume,
	// in raft order.
	Batches []pinetree.Batch
	// Meta is what changes of metadata, each volume once.
	Meta []MetaWrite
}

// Reader reads one volume of a replica. Each call sees one state and never a
// part of a write. An `at` of zero means the newest state; reading at an LSN
// above what is applied reads the newest; below the truncated LSN it is a
// *pinetree.TruncatedError. Every call names the LSN of the state that it saw.
type Reader interface {
	// Page returns a copy of a page and the LSN of its last change;
	// pinetree.ErrNotFound when it has no image at that LSN.
	Page(page pinetree.PageNo, at pinetree.LSN) (PageRead, error)
	// Get returns the value of a key; pinetree.ErrNotFound when it is not set.
	Get(key []byte, at pinetree.LSN) (KeyRead, error)
	// Range lists keys in [start, end) in byte order, at most limit of them; an
	// empty end is no bound. More tells that the limit was met.
	Range(r RangeSpec) (RangeRead, error)
	// Log calls fn with each batch that holds a record above from, in LSN order
	// and with its checksum checked, up to the applied LSN, until fn returns an
	// error, which it passes on. The batch is fn's only during the call.
	Log(from pinetree.LSN, fn func(pinetree.Batch) error) error
	// Position of the volume, of the newest state.
	Position() pinetree.VolumePosition
}

// PageRead is a page as of an LSN.
type PageRead struct {
	At      pinetree.LSN // the state that was read
	Page    []byte
	PageLSN pinetree.LSN // of the page's last change
}

// KeyRead is a key's value as of an LSN.
type KeyRead struct {
	At     pinetree.LSN
	Value  []byte
	KeyLSN pinetree.LSN
}

// RangeSpec says which keys to list.
type RangeSpec struct {
	Start, End []byte
	Limit      int
	At         pinetree.LSN
}

// RangeRead is the answer to a RangeSpec.
type RangeRead struct {
	At    pinetree.LSN
	Items []Item
	More  bool
}

// Item is one key of a range.
type Item struct {
	Key, Value []byte
	LSN        pinetree.LSN
}
