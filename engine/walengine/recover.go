package walengine

import (
	"fmt"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/walengine/files"
	"github.com/pinetree-db/pinetree/engine/walengine/frames"
)

// recovery reads a group's files when it is opened. Nothing is changed before
// everything was found good.
type recovery struct {
	log    *groupLog
	found  []*foundFile
	synced frames.Offset // the log is proven to be durable up to here
	solid  bool          // nothing but marks is above synced
	frames []pinetree.Batch
	// first is where the log begins among the files: those before it are what
	// is left of a removal of truncated files that a crash interrupted.
	first int
	// stop is what is not a frame, at the log's end; nil when the log ends
	// where its last file ends.
	stop *stop
}

// foundFile is a file as recovery finds it.
type foundFile struct {
	*logFile
	position pinetree.Position // of its checkpoint
	wrong    string            // why it has none
	size     int64
	next     frames.Offset // where the file after it begins; none for the last one
	last     bool
}

// stop is the place at which the good frames end.
type stop struct {
	file  int
	wrong string
}

// recoverLog reads the files of a generation, given where they begin, and mends
// what a crash has left. The log at hand is the empty one with which the
// generation began. Of a log that is only looked into nothing is mended.
func recoverLog(l *groupLog, bases []frames.Offset, readOnly bool) error {
	r := &recovery{log: l, solid: true}
	for i, base := range bases {
		f := &foundFile{logFile: newLogFile(l.set.Known(l.logName(base)), l.life, base), last: i == len(bases)-1}
		if !f.last {
			f.next = bases[i+1]
		}
		if err := f.readCheckpoint(); err != nil {
			return err
		}
		if f.wrong == "" {
			r.synced = max(r.synced, f.synced)
		}
		r.found = append(r.found, f)
	}
	if err := r.read(); err != nil {
		return err
	}
	if err := r.judge(); err != nil {
		return err
	}
	if r.first > 0 && !r.found[r.first].truncated(l.position) {
		f := r.found[r.first-1]
		return f.corrupt(f.base, fmt.Sprintf("it has %d bytes, the file after it begins at offset %d of the log, and what is between is not truncated", f.size, f.next))
	}
	if readOnly {
		return nil
	}
	return r.mend()
}

// readCheckpoint reads the header of a file and the checkpoint after it.
func (f *foundFile) readCheckpoint() error {
	return f.walk(func(w *frames.Walker) error {
		f.size = w.Limit
		data, err := w.Bytes(0, frames.FileHeaderBytes)
		if err != nil {
			return err
		}
		if f.wrong = f.life.file(f.base).Check(data); f.wrong != "" {
			return nil
		}
		c, wrong, err := w.Frame(f.base)
		if err != nil || wrong != "" {
			f.wrong = wrong
			return err
		}
		if c.Kind != frames.Checkpoint {
			return f.corrupt(f.base, "a file begins with a checkpoint, this one does not")
		}
		if _, f.wrong, err = w.Check(c, nil); err != nil || f.wrong != "" {
			return err
		}
		f.body = c.End()
		if f.position, _, f.wrong, err = w.Position(c); err != nil || f.wrong != "" {
			return err
		}
		f.logFile.synced, f.start = c.Synced, startsOf(f.position)
		return nil
	})
}

// walk calls fn with a reader of the whole file.
func (f *logFile) walk(fn func(*frames.Walker) error) error {
	handle, err := f.Open()
	if err != nil {
		return err
	}
	defer f.Done(false)
	size, err := handle.Size()
	if err != nil {
		return fmt.Errorf("size of %s: %w", f.Name(), err)
	}
	w := &frames.Walker{Window: files.Window{File: handle, Limit: size}, Bound: f.bound, Base: f.base, Skip: frames.FileHeaderBytes}
	if err := fn(w); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	return nil
}

// corrupt is the error for something wrong at an offset of the log.
func (f *logFile) corrupt(at frames.Offset, wrong string) error {
	return &pinetree.CorruptError{
		Where: fmt.Sprintf("%s offset %d", f.Name(), frames.FileHeaderBytes+int64(at-f.base)),
		What:  wrong + "; restore the file, or give this replica up and add a new one",
	}
}

// read walks the files that are not known to be durable as a whole, and leaves
// the log as it is at the end of the good frames.
func (r *recovery) read() error {
	if len(r.found) == 0 {
		return nil
	}
	first := r.found[0]
	if first.base < r.log.end {
		return first.corrupt(first.base, fmt.Sprintf("the generation's log begins at offset %d", r.log.end))
	}
	if first.base > max(r.log.end, r.synced) {
		// Files before it were removed only after others said that it was synced.
		r.stop = &stop{file: 0, wrong: fmt.Sprintf("the log begins at offset %d, and the file with that offset is missing", r.log.end)}
		return nil
	}
	from := slices.IndexFunc(r.found, func(f *foundFile) bool { return f.last || f.next > r.synced })
	if r.found[from].wrong != "" && from > 0 {
		from-- // the position there is that of the file before
	}
	for i, f := range r.found[:from] {
		if f.wrong != "" {
			r.stop = &stop{file: i, wrong: f.wrong}
			return nil
		}
		r.log.files = append(r.log.files, f.logFile)
		if f.size < frames.FileHeaderBytes+int64(f.next-f.base) {
			r.log.files, r.first = nil, i+1
		}
	}
	for i := from; i < len(r.found) && r.stop == nil; i++ {
		if err := r.file(i); err != nil {
			return err
		}
	}
	return nil
}

// file walks one file.
func (r *recovery) file(i int) error {
	f := r.found[i]
	if f.wrong != "" {
		r.stop = &stop{file: i, wrong: f.wrong}
		return nil
	}
	if len(r.log.files) > 0 && f.base == r.log.end && !samePlace(r.log.position, f.position) {
		return f.corrupt(f.base, fmt.Sprintf("its checkpoint says raft index %d, the frames before lead to %d, or the volumes differ", f.position.Index, r.log.position.Index))
	}
	r.log.files = append(r.log.files, f.logFile)
	return f.walk(func(w *frames.Walker) error {
		if !f.last {
			w.Limit = min(w.Limit, w.Physical(f.next))
		}
		r.log.end, r.log.position = f.base, f.position // the metadata comes with the first frame
		for w.Physical(r.log.end) < w.Limit || !f.last && r.log.end < f.next {
			if wrong, err := r.frame(f, w); err != nil {
				return err
			} else if wrong != "" {
				r.stop = &stop{file: i, wrong: wrong}
				return nil
			}
		}
		return nil
	})
}

// frame reads the frame at the log's end and moves the end behind it.
func (r *recovery) frame(f *foundFile, w *frames.Walker) (wrong string, err error) {
	at := r.log.end
	n, wrong, err := w.Frame(at)
	if err != nil || wrong != "" {
		return wrong, err
	}
	next, batches, wrong, err := replay(w, n, r.log.replayed, r.frames[:0])
	if err != nil || wrong != "" {
		return wrong, err
	}
	r.frames = batches
	f.index.note(batches, n)
	r.log.replayed, r.log.end = next, n.End()
	if n.Synced > r.synced {
		r.synced, r.solid = n.Synced, true
	}
	r.solid = r.solid && (n.Kind == frames.Mark || n.End() <= r.synced)
	return "", nil
}

// replay checks all of a frame and returns what it leads to from what was before,
// and the headers of its batches, in headers' memory. A frame that is whole and
// does not follow is an error.
func replay(w *frames.Walker, f frames.Frame, old replayed, headers []pinetree.Batch) (next replayed, batches []pinetree.Batch, wrong string, err error) {
	batches, wrong, err = w.Check(f, headers)
	if err != nil || wrong != "" || f.Kind == frames.Mark {
		return old, batches, wrong, err
	}
	changed, records, wrong, err := w.Position(f)
	if err != nil || wrong != "" {
		return old, batches, wrong, err
	}
	next.position = mergePositions(old.position, changed, f.Flags)
	if f.Kind == frames.Checkpoint {
		next.meta, err = loadMeta(next.position, records)
		return next, batches, "", err
	}
	write := engine.Write{Position: next.position, Batches: batches}
	if write.Meta, err = engine.ReadMetaWrites(old.position, next.position, records); err != nil {
		return next, batches, "", err
	}
	if err = engine.CheckWrite(old.position, write); err == nil {
		next.meta, _, err = old.meta.Advance(write)
	}
	return next, batches, "", err
}

// loadMeta makes the metadata of a checkpoint.
func loadMeta(at pinetree.Position, records [][]byte) (engine.Metadata, error) {
	var loader engine.MetaLoader
	for _, record := range records {
		if err := loader.Add(record); err != nil {
			return nil, err
		}
	}
	loaded, _, err := loader.Load(at)
	return loaded, err
}

// samePlace tells whether two positions are of the same write.
func samePlace(a, b pinetree.Position) bool {
	if a.Index != b.Index || len(a.Volumes) != len(b.Volumes) {
		return false
	}
	for id, v := range a.Volumes {
		if w, ok := b.Volumes[id]; !ok || w.LSN != v.LSN || w.MetaRevision != v.MetaRevision || w.MetaBytes != v.MetaBytes {
			return false
		}
	}
	return true
}
