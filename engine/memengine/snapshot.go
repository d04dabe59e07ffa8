package memengine

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// backend is the name of this engine in the chunks of its snapshots. Their
// bodies, joined, are the metadata and then the batches of all volumes, one after
// the other. Of what was dropped, batches that were made for the purpose have what
// reads still need.
const backend = "memory"

// snapshot holds the logs as they were: their slices grow at the end, and are
// replaced when something is dropped.
type snapshot struct {
	position pinetree.Position
	meta     engine.Metadata
	logs     [][]pinetree.Batch
}

// Snapshot implements engine.Store.
func (s *Store) Snapshot(id pinetree.GroupID) (engine.Snapshot, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	g, err := s.group(id)
	if err != nil {
		return nil, err
	}
	snap := &snapshot{position: g.position, meta: g.meta}
	for _, volume := range slices.Sorted(maps.Keys(g.volumes)) {
		v := g.volumes[volume]
		beginning, err := v.beginning(volume, g.position.Volumes[volume])
		if err != nil {
			return nil, err
		}
		snap.logs = append(snap.logs, beginning, v.log[:len(v.log):len(v.log)])
	}
	return snap, nil
}

// Position implements engine.Snapshot.
func (s *snapshot) Position() pinetree.Position { return s.position }

// Chunks implements engine.Snapshot.
func (s *snapshot) Chunks(fn func([]byte) error) error {
	w := engine.NewChunkWriter(engine.StreamOf(backend, s.position), fn)
	metadata, err := s.meta.Append(nil)
	if err != nil {
		return err
	}
	if _, err := w.Write(metadata); err != nil {
		return err
	}
	for _, log := range s.logs {
		for _, b := range log {
			if _, _, err := storepb.DecodeBatch(b.Encoded); err != nil {
				return err
			}
			if _, err := w.Write(b.Encoded); err != nil {
				return err
			}
		}
	}
	return w.End()
}

// Close implements engine.Snapshot.
func (s *snapshot) Close() error {
	s.logs = nil
	return nil
}

// restore keeps what was written until it is committed.
type restore struct {
	store  *Store
	id     pinetree.GroupID
	at     pinetree.Position
	chunks *engine.ChunkReader
	data   []byte // of the bodies, joined
	failed error
}

// Restore implements engine.Store.
func (s *Store) Restore(id pinetree.GroupID, at pinetree.Position) (engine.Restore, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if s.restores[id] != nil {
		return nil, fmt.Errorf("%w: group %d is being restored already", pinetree.ErrQueueFull, id)
	}
	r := &restore{store: s, id: id, at: at.Clone(), chunks: engine.NewChunkReader(engine.StreamOf(backend, at))}
	r.at.Restored = at.Index
	s.restores[id] = r
	return r, nil
}

// Write implements engine.Restore.
func (r *restore) Write(chunk []byte) error {
	if r.failed == nil {
		var body []byte
		body, r.failed = r.chunks.Open(chunk)
		r.data = append(r.data, body...)
	}
	return r.failed
}

// Commit implements engine.Restore.
func (r *restore) Commit() error {
	if r.failed == nil {
		r.failed = r.commit()
	}
	return r.failed
}

func (r *restore) commit() error {
	if err := r.chunks.Check(); err != nil {
		return err
	}
	metadata, err := r.metadata()
	if err != nil {
		return err
	}
	volumes, err := r.volumes()
	if err != nil {
		return err
	}
	s := r.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.restores[r.id] != r {
		return fmt.Errorf("%w: the restore of group %d was closed, or the store or the group ended", pinetree.ErrStopped, r.id)
	}
	delete(s.restores, r.id)
	g := s.groups[r.id]
	if g == nil {
		g = &group{store: s, id: r.id}
		s.groups[r.id] = g
	}
	g.position, g.flushed, g.volumes, g.failed = r.at, r.at, volumes, nil
	g.meta, g.flushedMeta = metadata, metadata
	return nil
}

// metadata takes what the data begins with.
func (r *restore) metadata() (engine.Metadata, error) {
	loader := engine.MetaLoader{}
	rest, err := loader.Take(r.data)
	if err != nil {
		return nil, err
	}
	r.data = rest
	metadata, _, err := loader.Load(r.at)
	return metadata, err
}

// volumes replays the batches, each of which must follow on the one before it.
func (r *restore) volumes() (map[pinetree.VolumeID]*volume, error) {
	volumes := map[pinetree.VolumeID]*volume{}
	ends := map[pinetree.VolumeID]pinetree.LSN{}
	for data := r.data; len(data) > 0; {
		b, rest, err := storepb.DecodeBatch(data)
		if err != nil {
			return nil, err
		}
		data = rest
		at, known := r.at.Volumes[b.Volume]
		if !known {
			return nil, misfit(b.Volume, "it is not in the position")
		}
		v := volumes[b.Volume]
		if v == nil {
			v = newVolume()
			volumes[b.Volume], ends[b.Volume] = v, at.Base
		}
		if b.Prev != ends[b.Volume] {
			return nil, misfit(b.Volume, "batch (%s, %s] does not follow on %s", b.Prev, b.LSN, ends[b.Volume])
		}
		ends[b.Volume] = b.LSN
		changes, err := decode(b, at.Format)
		if err != nil {
			return nil, err
		}
		v.add(b, changes)
	}
	for id, at := range r.at.Volumes {
		if end := max(ends[id], at.Base); end != at.LSN {
			return nil, misfit(id, "the log ends at %s, the position says %s", end, at.LSN)
		}
		if v := volumes[id]; v != nil {
			v.drop(at.Truncated)
		}
	}
	return volumes, nil
}

func misfit(id pinetree.VolumeID, format string, args ...any) error {
	return &pinetree.CorruptError{Where: fmt.Sprintf("restored volume %d", id), What: fmt.Sprintf(format, args...)}
}

// Close implements engine.Restore.
func (r *restore) Close() error {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	if r.store.restores[r.id] == r {
		delete(r.store.restores, r.id)
	}
	r.data, r.failed = nil, fmt.Errorf("%w: the restore of group %d was closed", pinetree.ErrStopped, r.id)
	return nil
}
