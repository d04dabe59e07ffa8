package segment

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/disk"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/segment/frame"
)

const (
	// DefaultSegmentBytes is the size at which a new segment is begun.
	DefaultSegmentBytes = 16 << 20
	// DefaultCacheBytes is how much of the newest entries is kept in memory.
	DefaultCacheBytes = 32 << 20

	// leastFill is the least that files are filled by: what a disk writes as a
	// whole.
	leastFill       = 512
	minSegmentBytes = 1 << 10
	maxSegmentBytes = 1 << 30
	// maxSaveBytes keeps every offset within 32 bits.
	maxSaveBytes = 1 << 30
)

// Options of a store. Zero values are the defaults.
type Options struct {
	// SegmentBytes is the size at which a new segment is begun, from 1 KiB to
	// 1 GiB. A larger Save makes a larger segment.
	SegmentBytes int64
	// CacheBytes bounds the newest entries that are kept in memory, all groups
	// together.
	CacheBytes int64
	// Marks are the free-space marks; by default those that raftlog.Marks finds
	// right for the disk.
	Marks raftlog.SpaceMarks
	// Logger gets what an operator may want to know. Nothing by default.
	Logger *slog.Logger

	inline bool // see keeper
}

// Store is a raftlog.Store in segment files. See the package comment.
//
// The log writer, whoever calls Save and its like, is the only one that
// changes anything. Everything below mu is changed with mu held, so that Views
// and Stats may read it with mu held; the writer itself reads without.
type Store struct {
	fs           FS
	meter        *meter // is fs
	marks        raftlog.SpaceMarks
	segmentBytes int64
	fill         int64 // files are zero-filled up to multiples of this
	log          *slog.Logger
	batch        frame.Batch
	staged       map[pinetree.GroupID]bounds // what Save's updates lead to, while it checks them
	unmarked     []pinetree.GroupID          // compacted; the log does not say so yet
	moving       cursor
	asked        uint64 // the segment at whose filling a spare was asked for
	keeper       *keeper
	failed       bool

	mu     sync.RWMutex
	index  *index
	files  []*segmentFile // in order without a gap; the last one is written to
	stuck  error          // why entries can no longer be moved
	closed bool
}

// Open opens the store in a directory, or makes an empty one there. On return
// everything that its Views show is durable. A log that is damaged other than
// by a crash is refused with a *pinetree.CorruptError, and left as it is.
func Open(dir string, o Options) (*Store, error) {
	fs, err := disk.OpenDirectory(dir)
	if err != nil {
		return nil, err
	}
	s, err := OpenFS(fs, o)
	if err != nil {
		fs.Close()
		return nil, fmt.Errorf("raft log in %s: %w", dir, err)
	}
	return s, nil
}

// OpenFS is Open on any file system. The store closes fs when it is closed,
// not when OpenFS fails.
func OpenFS(fs FS, o Options) (*Store, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SegmentBytes < minSegmentBytes || o.SegmentBytes > maxSegmentBytes {
		return nil, fmt.Errorf("segment size of %d bytes: choose one from %d to %d", o.SegmentBytes, minSegmentBytes, maxSegmentBytes)
	}
	if err := o.Marks.Check(); err != nil {
		return nil, err
	}
	m := &meter{FS: fs}
	s := &Store{
		fs: m, meter: m, marks: o.Marks, segmentBytes: o.SegmentBytes, log: o.Logger, index: newIndex(o.CacheBytes),
		fill:   max(leastFill, min(int64(len(frame.Zeroes)), o.SegmentBytes/64)),
		staged: map[pinetree.GroupID]bounds{},
	}
	spares, err := s.recover()
	if err != nil {
		for _, f := range s.files {
			f.release()
		}
		for _, s := range spares {
			s.file.Close()
		}
		return nil, err
	}
	s.keeper = newKeeper(m, o, spares)
	if n := len(s.files); n > 1 {
		// A crash may have come before this was noted.
		s.keeper.put(chore{ended: s.files[n-2]})
	}
	return s, nil
}

// Save appends the updates with one write and, if any has MustSync, one
// fdatasync; now and then it begins a new segment. See raftlog.Store. Updates
// that break the contract are refused with an error that names group and
// index; then nothing of the call is saved and the store has failed. Views go
// on showing what was saved before.
func (s *Store) Save(updates []raftlog.Update) error {
	if err := s.usable(); err != nil {
		return err
	}
	if len(updates) == 0 {
		return nil
	}
	bytes, err := s.check(updates)
	if err != nil {
		return s.fail(err)
	}
	if err := s.begin(bytes); err != nil {
		return s.fail(err)
	}
	sync := false
	for i := range updates {
		s.batch.AddUpdate(&updates[i])
		sync = sync || updates[i].MustSync
	}
	return s.commit(sync)
}

// check refuses updates that break the contract, and tells about how many
// bytes they will take.
func (s *Store) check(updates []raftlog.Update) (bytes int64, err error) {
	clear(s.staged)
	for i := range updates {
		u := &updates[i]
		if u.Group == 0 {
			return 0, fmt.Errorf("update %d is for group 0, which is no group", i)
		}
		b, seen := s.staged[u.Group]
		if g := s.index.groups[u.Group]; !seen && g != nil {
			b = g.bounds()
		}
		if u.Restart != nil {
			b = bounds{start: uint64(u.Restart.Index), last: uint64(u.Restart.Index)}
		}
		wrong := ""
		if len(u.Entries) > 0 {
			b, wrong = b.write(u.Entries[0].GetIndex(), len(u.Entries))
		}
		if wrong == "" {
			wrong = disorder(u.Entries)
		}
		if u.Sums != nil && len(u.Sums) != len(u.Entries) {
			wrong = fmt.Sprintf("%d checksums of %d entries", len(u.Sums), len(u.Entries))
		}
		if wrong != "" {
			return 0, fmt.Errorf("raft log of group %d: %s", u.Group, wrong)
		}
		s.staged[u.Group] = b
		bytes += int64(frame.Bytes(maxUpdateHead) + maxSlot*len(u.Entries))
		for _, e := range u.Entries {
			bytes += int64(len(e.Data))
		}
	}
	if bytes > maxSaveBytes {
		return 0, fmt.Errorf("updates of %d bytes in one Save, the limit is %d; save fewer together", bytes, maxSaveBytes)
	}
	return bytes, nil
}

// What an update takes beside its entries' data, at most: flags and seven
// numbers, and for each entry two numbers, its type and its checksum.
const (
	maxUpdateHead = 1 + 7*binary.MaxVarintLen64
	maxSlot       = 2*binary.MaxVarintLen64 + 5
)

// disorder names the first entry that does not follow on the one before, or "".
func disorder(entries []*raftpb.Entry) string {
	for i, e := range entries {
		if want := entries[0].GetIndex() + uint64(i); e.GetIndex() != want {
			return fmt.Sprintf("entry %d comes where %d must", e.GetIndex(), want)
		}
	}
	return ""
}

// Compact drops the group's entries up to and including index from its View.
// It writes nothing: the next Save, Remove or Probe does. Until then a crash
// brings the entries back.
func (s *Store) Compact(group pinetree.GroupID, index pinetree.RaftIndex) error {
	if err := s.usable(); err != nil {
		return err
	}
	g := s.index.groups[group]
	if g == nil || index <= g.start.Index || uint64(index) > g.last() {
		return nil
	}
	upTo := raftlog.Point{Index: index, Term: pinetree.RaftTerm(g.at(uint64(index)).Term)}
	s.mu.Lock()
	s.index.compact(group, upTo)
	s.mu.Unlock()
	s.unmarked = append(s.unmarked, group)
	if len(s.unmarked) > 2*len(s.index.groups) {
		slices.Sort(s.unmarked)
		s.unmarked = slices.Compact(s.unmarked)
	}
	return nil
}

// Remove drops a group's log, durably on return. Removing what is not there
// changes nothing.
func (s *Store) Remove(group pinetree.GroupID) error {
	if err := s.usable(); err != nil {
		return err
	}
	if s.index.groups[group] == nil {
		return nil
	}
	return s.commitEmpty(frame.Removal, group)
}

// Probe writes an empty frame and syncs it, and with it all that was saved
// before.
func (s *Store) Probe() error {
	if err := s.usable(); err != nil {
		return err
	}
	return s.commitEmpty(frame.Probe, 0)
}

// View is the log of one group, whatever becomes of it: it may be created,
// removed and created again later. It goes on answering after the store has
// failed; after Close it has only what is in memory.
func (s *Store) View(group pinetree.GroupID) raftlog.View { return view{s, group} }

// Groups lists the groups that have a log, in rising order.
func (s *Store) Groups() []pinetree.GroupID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.index.groups))
}

// Close releases the files, without a sync of what was saved without one; it
// notes how far they were synced, so that damage to the end of the log is told
// from a torn write. A read that is under way ends well. Closing twice does
// nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	already := s.closed
	s.closed = true
	s.mu.Unlock()
	if already {
		return nil
	}
	first := s.keeper.close()
	if first == nil && !s.failed {
		first = s.active().note(frame.Synced)
	}
	for _, f := range s.files {
		if err := f.release(); err != nil && first == nil {
			first = err
		}
	}
	if err := s.fs.Close(); err != nil && first == nil {
		first = err
	}
	return first
}

func (s *Store) usable() error {
	switch {
	case s.closed:
		return fmt.Errorf("raft log store is closed: %w", pinetree.ErrStopped)
	case s.failed:
		return raftlog.ErrFailed
	}
	if err := s.keeper.err(); err != nil {
		return s.fail(err)
	}
	return nil
}

// fail ends the store's life as a writer.
func (s *Store) fail(cause error) error {
	s.failed = true
	s.log.Error("raft log store has failed and takes no more writes", "error", cause)
	return fmt.Errorf("%w: %w", raftlog.ErrFailed, cause)
}
