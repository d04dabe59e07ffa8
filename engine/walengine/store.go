package walengine

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/disk"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/walengine/files"
	"github.com/pinetree-db/pinetree/engine/walengine/frames"
)

const (
	// DefaultFileBytes is the size at which a new file is begun.
	DefaultFileBytes = 64 << 20
	// DefaultMaxOpenFiles is how many files are open at once.
	DefaultMaxOpenFiles = 2048

	// gatheredFiles is of how many files, which are as many groups, what is appended
	// is put together in memory, 16 MiB in all.
	gatheredFiles = 64

	minFileBytes = 1 << 10
	maxFileBytes = 16 << 30
)

// Options of a store. Zero values are the defaults.
type Options struct {
	// FileBytes is the size at which a group's log goes on in a new file, from
	// 1 KiB to 16 GiB. What is truncated is given back file by file.
	FileBytes int64
	// MaxOpenFiles bounds the files that are open at once, all groups together,
	// but for those that are in use at the moment.
	MaxOpenFiles int
	// ReadOnly opens a store that is there to be looked into: nothing that a crash
	// left is mended or removed, and what is written is an error.
	ReadOnly bool
	// Logger gets what an operator may want to know. Nothing by default.
	Logger *slog.Logger

	plain bool // nothing is gathered
}

// Store is an engine.Store in log files. See the package comment. Everything
// may be called by any goroutine.
type Store struct {
	fs      disk.FS
	options Options
	set     *files.Set

	mu sync.Mutex // guards the rest; comes before the locks of a group
	// restores are those that are under way.
	restores map[pinetree.GroupID]*restore
	// found are the groups that have not been opened, with what their files are.
	found  map[pinetree.GroupID]foundGroup
	groups map[pinetree.GroupID]*group
	// last is the highest generation that a group has had here.
	last   map[pinetree.GroupID]uint32
	closed bool
}

var _ engine.Store = (*Store)(nil)

// foundGroup is a group on the disk.
type foundGroup struct {
	life
	bases []frames.Offset
}

// Open opens the store in a directory, or makes an empty one there. Groups are
// read when they are opened.
func Open(dir string, o Options) (*Store, error) {
	open := disk.OpenDirectory
	if o.ReadOnly {
		open = disk.OpenReadOnly
	}
	fs, err := open(dir)
	if err != nil {
		return nil, err
	}
	s, err := OpenFS(fs, o)
	if err != nil {
		fs.Close()
		return nil, fmt.Errorf("wal engine in %s: %w", dir, err)
	}
	return s, nil
}

// OpenFS is Open on any file system. The store closes fs when it is closed, not
// when OpenFS fails.
func OpenFS(fs disk.FS, o Options) (*Store, error) {
	if o.FileBytes == 0 {
		o.FileBytes = DefaultFileBytes
	}
	if o.MaxOpenFiles == 0 {
		o.MaxOpenFiles = DefaultMaxOpenFiles
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.FileBytes < minFileBytes || o.FileBytes > maxFileBytes || o.MaxOpenFiles < 1 {
		return nil, fmt.Errorf("files of %d bytes, %d of them open: choose a size from %d to %d and at least one", o.FileBytes, o.MaxOpenFiles, minFileBytes, int64(maxFileBytes))
	}
	if !o.ReadOnly && !o.plain {
		fs = disk.Gather(fs, gatheredFiles)
	}
	s := &Store{
		fs: fs, options: o, set: files.NewSet(fs, o.MaxOpenFiles, o.Logger),
		groups: map[pinetree.GroupID]*group{}, last: map[pinetree.GroupID]uint32{}, restores: map[pinetree.GroupID]*restore{},
	}
	leftovers, err := s.list()
	if err != nil {
		return nil, err
	}
	if len(leftovers) == 0 || o.ReadOnly {
		return s, nil
	}
	// What made them leftovers must not be lost when they are gone.
	if err := fs.SyncDir(); err != nil {
		return nil, fmt.Errorf("sync the directory: %w", err)
	}
	for _, name := range leftovers {
		if err := fs.Remove(name); err != nil {
			return nil, fmt.Errorf("remove %s, which a crash left: %w", name, err)
		}
	}
	return s, nil
}

// list finds the groups, and the files that are of none.
func (s *Store) list() (leftovers []string, err error) {
	names, err := s.fs.List()
	if err != nil {
		return nil, fmt.Errorf("list the directory: %w", err)
	}
	var last map[pinetree.GroupID]uint32
	s.found, last = findGroups(names)
	maps.Copy(s.last, last)
	for _, name := range names {
		l, _, suffix, ok := parseName(name)
		if ok && (suffix == newSuffix || s.found[l.group].life != l) {
			leftovers = append(leftovers, name)
		}
	}
	slices.Sort(leftovers)
	return leftovers, nil
}

// findGroups finds the groups among the names of files, and the last generation
// that each has a file of.
func findGroups(names []string) (map[pinetree.GroupID]foundGroup, map[pinetree.GroupID]uint32) {
	found, last := map[pinetree.GroupID]foundGroup{}, map[pinetree.GroupID]uint32{}
	for _, name := range names {
		l, _, suffix, ok := parseName(name)
		if !ok {
			continue
		}
		last[l.group] = max(last[l.group], l.generation)
		if suffix == groupSuffix && l.generation >= found[l.group].generation {
			found[l.group] = foundGroup{life: l}
		}
	}
	for _, name := range names {
		l, base, suffix, ok := parseName(name)
		if g, there := found[l.group]; ok && there && suffix == logSuffix && g.life == l {
			g.bases = append(g.bases, base)
			found[l.group] = g
		}
	}
	for _, g := range found {
		slices.Sort(g.bases)
	}
	return found, last
}

// enter begins a call that needs the lock.
func (s *Store) enter() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return fmt.Errorf("%w: the wal engine is closed", pinetree.ErrStopped)
	}
	return nil
}

func (s *Store) has(id pinetree.GroupID) bool {
	_, found := s.found[id]
	return found || s.groups[id] != nil
}

// nextLife is a generation of a group that was never used. The lock must be
// held.
func (s *Store) nextLife(id pinetree.GroupID) life {
	s.last[id]++
	return life{group: id, generation: s.last[id], bound: id}
}

// newLog is the empty log of a generation.
func (s *Store) newLog(l life, o origin) *groupLog {
	l.bound = o.bound
	return &groupLog{
		life: l, set: s.set, log: s.options.Logger, fileBytes: s.options.FileBytes,
		end: o.start, synced: o.start, replayed: replayed{position: o.position}, flushed: o.position,
	}
}

// Create implements engine.Store.
func (s *Store) Create(id pinetree.GroupID, start pinetree.Position) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if s.has(id) {
		return nil
	}
	l, o := s.nextLife(id), origin{bound: id, position: start.Clone()}
	if err := writeOrigin(s.fs, l, o); err != nil {
		return err
	}
	if err := publish(s.fs, l); err != nil {
		return err
	}
	s.groups[id] = &group{store: s, id: id, log: s.newLog(l, o)}
	return nil
}

// Supports implements engine.Formats: the engine keeps nothing but logs.
func (s *Store) Supports(format pinetree.Format) error {
	if format != pinetree.FormatOpaque {
		return fmt.Errorf("%w: the wal engine keeps nothing but the log of opaque volumes, and this one is to be %s; have it in a group whose nodes run another engine", pinetree.ErrBadBatch, format)
	}
	return nil
}

// Open implements engine.Store. The first time it reads the end of the group's
// log; one that is damaged other than by a crash is a *pinetree.CorruptError,
// and is left as it is.
func (s *Store) Open(id pinetree.GroupID) (engine.Engine, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil {
		return nil, err
	}
	return g, nil
}

// group is a group that was created. The lock must be held.
func (s *Store) group(id pinetree.GroupID) (*group, error) {
	if g := s.groups[id]; g != nil {
		return g, nil
	}
	found, ok := s.found[id]
	if !ok {
		return nil, fmt.Errorf("%w: group %d has no state here", pinetree.ErrUnknownGroup, id)
	}
	o, err := readOrigin(s.fs, found.life)
	if err != nil {
		return nil, err
	}
	l := s.newLog(found.life, o)
	if err := recoverLog(l, found.bases, s.options.ReadOnly); err != nil {
		return nil, fmt.Errorf("group %d: %w", id, err)
	}
	g := &group{store: s, id: id, log: l}
	s.groups[id] = g
	delete(s.found, id)
	return g, nil
}

// Groups implements engine.Store.
func (s *Store) Groups() ([]pinetree.GroupID, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return slices.Sorted(func(yield func(pinetree.GroupID) bool) {
		for id := range s.groups {
			if !yield(id) {
				return
			}
		}
		for id := range s.found {
			if !yield(id) {
				return
			}
		}
	}), nil
}

// Remove implements engine.Store. Files that are being read go when the reading
// ends.
func (s *Store) Remove(id pinetree.GroupID) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	delete(s.restores, id)
	if !s.has(id) {
		return nil
	}
	if g := s.groups[id]; g != nil {
		g.writing.Lock()
		defer g.writing.Unlock()
		g.mu.Lock()
		g.removed = true
		g.mu.Unlock()
	}
	gone := s.filesOf(id)
	delete(s.groups, id)
	delete(s.found, id)
	if err := s.removeOrigins(id); err != nil {
		return err
	}
	for _, f := range gone {
		if err := f.Drop(); err != nil {
			return err
		}
	}
	return nil
}

// filesOf lists the files of a group's log. The lock must be held.
func (s *Store) filesOf(id pinetree.GroupID) []*logFile {
	if g := s.groups[id]; g != nil {
		return g.log.files
	}
	var found []*logFile
	for _, base := range s.found[id].bases {
		l := s.found[id].life
		found = append(found, newLogFile(s.set.Known(l.logName(base)), l, base))
	}
	return found
}

// removeOrigins makes a group not be there any more, durably.
func (s *Store) removeOrigins(id pinetree.GroupID) error {
	names, err := s.fs.List()
	if err != nil {
		return fmt.Errorf("list the directory: %w", err)
	}
	for _, name := range names {
		if l, _, suffix, ok := parseName(name); ok && l.group == id && suffix == groupSuffix {
			if err := s.fs.Remove(name); err != nil {
				return fmt.Errorf("remove %s: %w", name, err)
			}
		}
	}
	if err := s.fs.SyncDir(); err != nil {
		return fmt.Errorf("sync the directory of the wal engine: %w", err)
	}
	return nil
}

// Close implements engine.Store. It flushes all groups, so that the next start
// is quick, and returns the first error of that; what is not flushed is no more
// lost than in a crash. Reads that are under way go on with the files that they
// have open and then fail.
func (s *Store) Close() error {
	if err := s.enter(); err != nil {
		return nil
	}
	defer s.mu.Unlock()
	s.closed = true
	var failed error
	for _, id := range slices.Sorted(maps.Keys(s.groups)) {
		g := s.groups[id]
		if g.failure() == nil {
			_, err := g.Flush()
			failed = errors.Join(failed, err)
		}
		g.writing.Lock() // waits for a write that is under way
		g.fail(fmt.Errorf("%w: the wal engine is closed", pinetree.ErrStopped))
		g.writing.Unlock()
	}
	return errors.Join(failed, s.set.Close(), s.fs.Close())
}
