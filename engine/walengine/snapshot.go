package walengine

import (
	"encoding/binary"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/walengine/frames"
)

// backend is the name of this engine in the chunks of its snapshots. Their
// bodies, joined, are the bound of the log and the offset at which it begins, 8
// bytes each and little endian, and then the log's frames as they are in the
// files.
const (
	backend             = "wal"
	snapshotHeaderBytes = 16
)

// snapshot is a state of a log. It keeps the files until it is closed.
type snapshot struct {
	capture
	bound  pinetree.GroupID
	closed bool
}

// Snapshot implements engine.Store.
func (s *Store) Snapshot(id pinetree.GroupID) (engine.Snapshot, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil {
		return nil, err
	}
	l, err := g.current()
	if err != nil {
		return nil, err
	}
	return &snapshot{capture: l.capture(func(capture) int { return 0 }), bound: l.bound}, nil
}

// Position implements engine.Snapshot.
func (s *snapshot) Position() pinetree.Position { return s.position }

// Chunks implements engine.Snapshot.
func (s *snapshot) Chunks(fn func([]byte) error) error {
	if s.closed {
		return fmt.Errorf("%w: the snapshot was closed", pinetree.ErrStopped)
	}
	start := s.end
	if len(s.files) > 0 {
		start = s.files[0].base
	}
	out := engine.NewChunkWriter(engine.StreamOf(backend, s.position), fn)
	var first [snapshotHeaderBytes]byte
	binary.LittleEndian.PutUint64(first[:], uint64(s.bound))
	binary.LittleEndian.PutUint64(first[8:], uint64(start))
	if _, err := out.Write(first[:]); err != nil {
		return err
	}
	for i, f := range s.files {
		err := f.frames(f.base, s.endOf(i), func(w *frames.Walker, n frames.Frame) (more bool, err error) {
			if _, wrong, err := w.Check(n, nil); err != nil || wrong != "" {
				if wrong != "" {
					err = f.corrupt(n.At, wrong)
				}
				return false, err
			}
			return true, w.Copy(n, out)
		})
		if err != nil {
			return err
		}
	}
	return out.End()
}

// Close implements engine.Snapshot.
func (s *snapshot) Close() error {
	if !s.closed {
		s.closed = true
		s.release()
	}
	return nil
}
