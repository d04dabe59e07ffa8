package walengine

import (
	"encoding/binary"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/walengine/files"
	"github.com/pinetree-db/pinetree/engine/walengine/frames"
)

// restoreSyncBytes is about how much a restore writes before it syncs, so that
// little is left for Commit.
const restoreSyncBytes = 32 << 20

// restore writes the files of a generation that is not there before Commit
// writes its .group file: until then they are leftovers.
type restore struct {
	store   *Store
	life    life
	at      pinetree.Position
	chunks  *engine.ChunkReader
	pending []byte    // received, and not a whole frame yet
	log     *groupLog // nil before its beginning was received
	origin  origin
	frames  []pinetree.Batch
	failed  error // after which nothing is written
	// published tells that the generation may be there, even if Commit failed.
	published bool
}

// Restore implements engine.Store.
func (s *Store) Restore(id pinetree.GroupID, at pinetree.Position) (engine.Restore, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if s.restores[id] != nil {
		return nil, fmt.Errorf("%w: group %d is being restored already", pinetree.ErrQueueFull, id)
	}
	r := &restore{store: s, life: s.nextLife(id), at: at.Clone(), chunks: engine.NewChunkReader(engine.StreamOf(backend, at))}
	r.at.Restored = at.Index
	s.restores[id] = r
	return r, nil
}

// Write implements engine.Restore.
func (r *restore) Write(chunk []byte) error {
	if r.failed == nil {
		r.failed = r.write(chunk)
	}
	return r.failed
}

func (r *restore) write(chunk []byte) error {
	body, err := r.chunks.Open(chunk)
	if err != nil {
		return err
	}
	r.pending = append(r.pending, body...)
	rest := r.pending
	if r.log == nil {
		if len(rest) < snapshotHeaderBytes {
			return nil
		}
		if err := r.begin(rest); err != nil {
			return err
		}
		rest = rest[snapshotHeaderBytes:]
	}
	for len(rest) >= frames.HeaderBytes {
		size, err := r.frame(rest)
		if err != nil {
			return err
		}
		if size == 0 {
			break
		}
		rest = rest[size:]
	}
	r.pending = append(r.pending[:0], rest...)
	return nil
}

// begin makes the log that the snapshot is of, without a frame.
func (r *restore) begin(header []byte) error {
	le := binary.LittleEndian
	r.origin = origin{bound: pinetree.GroupID(le.Uint64(header)), start: frames.Offset(le.Uint64(header[8:])), position: r.at}
	if r.origin.start < 0 {
		return r.corrupt(fmt.Sprintf("it begins at offset %d", r.origin.start))
	}
	r.log = r.store.newLog(r.life, r.origin)
	return nil
}

// frame takes the frame at the start of data and returns its size; zero when it
// is not all there.
func (r *restore) frame(data []byte) (size int64, err error) {
	l := r.log
	w := &frames.Walker{Window: files.Window{Buf: data, Limit: int64(len(data))}, Bound: l.bound, Base: l.end}
	h, wrong := frames.ReadHeader(data, l.place(l.end))
	if wrong != "" {
		return 0, r.corrupt(wrong)
	}
	if h.Size() > int64(len(data)) {
		return 0, nil
	}
	f := frames.Frame{Header: h, At: l.end}
	if len(l.files) == 0 && h.Kind != frames.Checkpoint {
		return 0, r.corrupt("its first frame is no checkpoint")
	}
	next, batches, wrong, err := replay(w, f, l.replayed, r.frames[:0])
	if wrong != "" {
		err = r.corrupt(wrong)
	}
	if err != nil {
		return 0, err
	}
	r.frames = batches
	if h.Kind == frames.Checkpoint {
		if len(l.files) == 0 {
			r.origin.position = next.position
		} else if !samePlace(l.position, next.position) {
			return 0, r.corrupt(fmt.Sprintf("a checkpoint says raft index %d, the frames before lead to %d", next.position.Index, l.position.Index))
		}
		if l.end-l.synced >= restoreSyncBytes {
			if err := l.sync(); err != nil {
				return 0, err
			}
		}
	}
	return h.Size(), l.take(data[:h.Size()], f, next, batches)
}

func (r *restore) corrupt(wrong string) error {
	at := frames.Offset(0)
	if r.log != nil {
		at = r.log.end
	}
	return &pinetree.CorruptError{
		Where: fmt.Sprintf("snapshot at index %d, offset %d of the log", r.at.Index, at),
		What:  wrong + "; send the snapshot again",
	}
}

// Commit implements engine.Restore.
func (r *restore) Commit() error {
	if r.failed == nil {
		r.failed = r.commit()
	}
	if r.failed == nil {
		r.failed = fmt.Errorf("%w: the restore of group %d was committed", pinetree.ErrStopped, r.life.group)
		return nil
	}
	return r.failed
}

func (r *restore) commit() error {
	if err := r.chunks.Check(); err != nil {
		return err
	}
	if r.log == nil || len(r.pending) > 0 {
		return r.corrupt(fmt.Sprintf("it ends %d bytes into a frame", len(r.pending)))
	}
	if err := r.finish(); err != nil {
		return err
	}
	s := r.store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	id := r.life.group
	if s.restores[id] != r {
		return fmt.Errorf("%w: group %d was removed, or its restore was closed", pinetree.ErrStopped, id)
	}
	g := s.groups[id]
	if g == nil {
		g = &group{store: s, id: id, log: r.log}
	}
	g.writing.Lock()
	defer g.writing.Unlock()
	if err := writeOrigin(s.fs, r.log.life, r.origin); err != nil {
		return err
	}
	r.published = true
	if err := publish(s.fs, r.log.life); err != nil {
		// The next start may find the old state or the new one: nothing that is
		// written to the old one now would surely be there.
		g.fail(fmt.Errorf("group %d takes no more writes until the store is opened again: %w", id, err))
		return err
	}
	old := s.lifeOf(id)
	gone := s.filesOf(id)
	g.replace(r.log)
	s.groups[id] = g
	delete(s.found, id)
	delete(s.restores, id)
	if old.generation != 0 {
		s.discard(old, gone)
	}
	return nil
}

// finish makes durable what was written, with a checkpoint of the position as
// the last frame.
func (r *restore) finish() error {
	l := r.log
	if len(l.files) == 0 {
		return nil // there is nothing but the position, which is the origin's
	}
	if !samePlace(l.position, r.at) {
		return r.corrupt(fmt.Sprintf("its frames lead to raft index %d, or to other volumes", l.position.Index))
	}
	if err := l.sync(); err != nil {
		return err
	}
	if err := l.checkpoint(r.at); err != nil {
		return err
	}
	if err := l.sync(); err != nil {
		return err
	}
	return l.mark()
}

// replace makes another log the group's.
func (g *group) replace(l *groupLog) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.log, g.failed = l, nil
}

// lifeOf is the generation of a group that is there, or none. The lock must be
// held.
func (s *Store) lifeOf(id pinetree.GroupID) life {
	if g := s.groups[id]; g != nil {
		return g.log.life
	}
	return s.found[id].life
}

// discard removes a generation that was replaced. What stays is removed when
// the store is opened again.
func (s *Store) discard(l life, gone []*logFile) {
	if err := s.fs.Remove(l.groupName()); err != nil {
		s.options.Logger.Warn("the file of a state that was replaced stays", "err", err)
	}
	for _, f := range gone {
		if err := f.Drop(); err != nil {
			s.options.Logger.Warn("the log of a state that was replaced stays", "err", err)
		}
	}
}

// Close implements engine.Restore.
func (r *restore) Close() error {
	r.failed = fmt.Errorf("%w: the restore of group %d was closed", pinetree.ErrStopped, r.life.group)
	s := r.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.restores[r.life.group] == r {
		delete(s.restores, r.life.group)
	}
	l := r.log
	r.log, r.pending = nil, nil
	if l == nil || s.closed || r.published {
		return nil
	}
	return l.drop()
}
