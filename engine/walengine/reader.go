package walengine

import (
	"errors"
	"fmt"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/walengine/files"
	"github.com/pinetree-db/pinetree/engine/walengine/frames"
)

// reader is the engine.Reader of one volume. It is stateless.
type reader struct {
	group *group
	id    pinetree.VolumeID
}

// Position implements engine.Reader.
func (r *reader) Position() pinetree.VolumePosition { return r.group.Position().Volumes[r.id] }

// at settles which state a read sees.
func (r *reader) at(at pinetree.LSN) (pinetree.LSN, error) {
	if _, err := r.group.current(); err != nil {
		return 0, err
	}
	return engine.ReadAt(r.id, r.Position(), at)
}

// Page implements engine.Reader: an opaque volume has no pages.
func (r *reader) Page(page pinetree.PageNo, at pinetree.LSN) (engine.PageRead, error) {
	at, err := r.at(at)
	if err == nil {
		err = fmt.Errorf("%w: page %d of volume %d, which is opaque and has only its log", pinetree.ErrNotFound, page, r.id)
	}
	return engine.PageRead{At: at}, err
}

// Get implements engine.Reader: an opaque volume has no keys.
func (r *reader) Get(key []byte, at pinetree.LSN) (engine.KeyRead, error) {
	at, err := r.at(at)
	if err == nil {
		err = fmt.Errorf("%w: key %q of volume %d, which is opaque and has only its log", pinetree.ErrNotFound, key, r.id)
	}
	return engine.KeyRead{At: at}, err
}

// Range implements engine.Reader: an opaque volume has no keys.
func (r *reader) Range(spec engine.RangeSpec) (engine.RangeRead, error) {
	at, err := r.at(spec.At)
	return engine.RangeRead{At: at}, err
}

// Log implements engine.Reader. Besides each batch's checksum it checks that
// the batches follow on each other up to the applied LSN: a hole is reported
// and not skipped. No lock is held while fn runs.
func (r *reader) Log(from pinetree.LSN, fn func(pinetree.Batch) error) error {
	l, err := r.group.current()
	if err != nil {
		return err
	}
	c := l.capture(func(c capture) int { return c.fileOf(r.id, from) })
	defer c.release()
	at, ok := c.position.Volumes[r.id]
	if !ok {
		return fmt.Errorf("%w: volume %d is not in group %d", pinetree.ErrUnknownVolume, r.id, r.group.id)
	}
	if from < at.Truncated {
		return &pinetree.TruncatedError{Volume: r.id, Asked: from, First: at.Truncated}
	}
	s := scan{volume: r.id, tail: max(from, at.Base), end: at.LSN, fn: fn}
	for i, f := range c.files {
		if s.tail >= s.end {
			return nil
		}
		if err := s.read(f, c.endOf(i)); err != nil {
			return err
		}
	}
	if s.tail < s.end {
		return s.hole("there is nothing more")
	}
	return nil
}

// capture is a state of a log: its files, kept from being removed until
// release, and where it ends.
type capture struct {
	files    []*logFile
	end      frames.Offset
	position pinetree.Position
}

// capture takes hold of the log without as many of its first files as skip says.
func (l *groupLog) capture(skip func(capture) int) capture {
	l.mu.RLock()
	defer l.mu.RUnlock()
	c := capture{files: l.files, end: l.end, position: l.position}
	c.files = c.files[skip(c):len(c.files):len(c.files)]
	for _, f := range c.files {
		f.Pin()
	}
	return c
}

func (c capture) release() {
	for _, f := range c.files {
		f.Unpin()
	}
}

// endOf is where the frames of a file end.
func (c capture) endOf(i int) frames.Offset {
	if i+1 < len(c.files) {
		return c.files[i+1].base
	}
	return c.end
}

// fileOf is the number of the file in which a volume's log goes on from an LSN,
// or of one before it.
func (c capture) fileOf(id pinetree.VolumeID, from pinetree.LSN) int {
	for i := len(c.files) - 1; i > 0; i-- {
		if start, ok := c.files[i].start[id]; ok && start <= from {
			return i
		}
	}
	return 0
}

// scan is one reading of a volume's log.
type scan struct {
	volume pinetree.VolumeID
	tail   pinetree.LSN // what was asked for, then the end of what fn has seen
	end    pinetree.LSN
	begun  bool
	fn     func(pinetree.Batch) error

	file   *logFile // that is being read
	frame  frames.Offset
	passed []pinetree.Batch // headers of the frame's batches
}

// read reads what a file, whose frames end there, has of the volume.
func (s *scan) read(f *logFile, end frames.Offset) error {
	s.file = f
	return f.frames(f.index.find(s.volume, s.tail), end, func(w *frames.Walker, n frames.Frame) (more bool, err error) {
		s.frame, s.passed = n.At, s.passed[:0]
		wrong, err := w.Batches(n, s.batch)
		if wrong != "" {
			err = f.corrupt(n.At, wrong)
		}
		if err == nil {
			f.index.learn(s.passed, n)
		}
		return s.tail < s.end, err
	})
}

// batch gives a batch to fn if it is one of those that were asked for.
func (s *scan) batch(b pinetree.Batch, open func() (pinetree.Batch, error)) error {
	s.passed = append(s.passed, b)
	if b.Volume != s.volume || b.LSN <= s.tail || s.tail >= s.end {
		return nil
	}
	b, err := open()
	if errors.Is(err, pinetree.ErrCorrupt) {
		return s.file.corrupt(s.frame, err.Error())
	}
	if err != nil {
		return err
	}
	// Only the first batch may begin before what was asked for.
	if b.Prev > s.tail || b.Prev < s.tail && s.begun {
		return s.hole(fmt.Sprintf("batch (%s, %s] comes next", b.Prev, b.LSN))
	}
	if err := s.fn(b); err != nil {
		return err
	}
	s.tail, s.begun = b.LSN, true
	return nil
}

func (s *scan) hole(what string) error {
	return &pinetree.CorruptError{
		Where: fmt.Sprintf("log of volume %d after %s", s.volume, s.tail),
		What:  fmt.Sprintf("%s, and the log is applied up to %s", what, s.end),
	}
}

// buffers are those of the readers of files.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// frames calls fn with the frames of a file from one offset to another, until it
// wants no more.
func (f *logFile) frames(at, end frames.Offset, fn func(*frames.Walker, frames.Frame) (more bool, err error)) error {
	handle, err := f.Open()
	if err != nil {
		return err
	}
	defer f.Done(false)
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	w := &frames.Walker{Window: files.Window{File: handle, Buf: (*buf)[:0]}, Bound: f.bound, Base: f.base, Skip: frames.FileHeaderBytes}
	defer func() { *buf = w.Buf }()
	w.Limit = w.Physical(end)
	for at < end {
		n, wrong, err := w.Frame(at)
		if err != nil {
			return fmt.Errorf("read %s: %w", f.Name(), err)
		}
		if wrong != "" {
			return f.corrupt(at, wrong)
		}
		if more, err := fn(w, n); err != nil || !more {
			return err
		}
		at = n.End()
	}
	return nil
}
