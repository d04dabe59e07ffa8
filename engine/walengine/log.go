package walengine

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/walengine/files"
	"github.com/pinetree-db/pinetree/engine/walengine/frames"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// groupLog is one generation of a group's log. One goroutine at a time appends
// and syncs; what others read is below mu and changed with mu held.
//
// Invariants:
//
//	files have neighbouring frames: one ends where the next begins
//	what is below synced is durable, names included
//	position is that of the last frame
type groupLog struct {
	life
	set       *files.Set
	log       *slog.Logger
	fileBytes int64

	synced   frames.Offset
	unsynced bool          // something but marks is above synced
	unnamed  bool          // a file was made since the directory was synced
	uncached frames.Offset // what is below may be read from the disk alone
	begun    int64         // bytes of the last file that the disk was set to work on
	buf      []byte
	parts    [][]byte

	mu    sync.RWMutex
	files []*logFile // the last one is written to; none before the first frame
	end   frames.Offset
	replayed
	flushed pinetree.Position
}

// replayed is what frames lead to.
type replayed struct {
	position pinetree.Position
	meta     engine.Metadata
}

// logFile is one file of a log.
type logFile struct {
	*files.File
	life
	base frames.Offset // of its first frame
	body frames.Offset // after its checkpoint
	// start is where the volumes' logs were at base, and synced what was durable
	// then.
	start  map[pinetree.VolumeID]pinetree.LSN
	synced frames.Offset
	index  indexOfFile
}

func newLogFile(f *files.File, l life, base frames.Offset) *logFile {
	return &logFile{File: f, life: l, base: base, index: indexOfFile{x: newIndex(base)}}
}

// apply appends the frame of a write, to a new file if the last one is full. On
// return it can be read, and nothing is durable.
func (l *groupLog) apply(write engine.Write) error {
	next, batches := replayed{position: write.Position}, write.Batches
	var err error
	if next.meta, _, err = l.meta.Advance(write); err != nil {
		return err
	}
	records, err := engine.MetaRecords(write)
	if err != nil {
		return err
	}
	changed, flags := difference(l.position, next.position)
	head, err := storepb.EncodeState(changed, records)
	if err != nil {
		return fmt.Errorf("position of group %d: %w", l.group, err)
	}
	h := frames.Header{Kind: frames.Apply, Flags: flags, Head: len(head), Batches: len(batches), Synced: l.synced}
	for _, b := range batches {
		h.Body += len(b.Encoded)
	}
	if h.Head > frames.MaxPart || h.Body > frames.MaxPart {
		return fmt.Errorf("a write of %d and %d bytes, a frame takes %d: apply less at once", h.Head, h.Body, frames.MaxPart)
	}
	file := l.active()
	l.buf = l.buf[:0]
	if file == nil || file.full(l.end, l.fileBytes) {
		if file, err = l.begin(l.replayed); err != nil {
			return err
		}
	}
	at := l.end
	if len(l.buf) > 0 {
		at += frames.Offset(len(l.buf) - frames.FileHeaderBytes)
	}
	first := len(l.buf)
	l.buf = append(l.buf, make([]byte, frames.HeaderBytes)...)
	l.buf = append(l.buf, head...)
	frames.Seal(l.buf[first:], l.place(at), h)
	l.parts = append(l.parts[:0], l.buf)
	for _, b := range batches {
		l.parts = append(l.parts, b.Encoded)
	}
	l.parts = append(l.parts, h.Tail())
	if err := l.write(file); err != nil {
		return err
	}
	file.index.note(batches, frames.Frame{Header: h, At: at})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance(file, at+frames.Offset(h.Size()), next)
	return nil
}

// checkpoint begins a new file with the whole position, which replaces the one
// before.
func (l *groupLog) checkpoint(position pinetree.Position) error {
	l.buf = l.buf[:0]
	next := replayed{position: position, meta: l.meta}
	file, err := l.begin(next)
	if err != nil {
		return err
	}
	l.parts = append(l.parts[:0], l.buf)
	end := l.end + frames.Offset(len(l.buf)-frames.FileHeaderBytes)
	if err := l.write(file); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance(file, end, next)
	return nil
}

// take appends a frame as it was written by another replica, in a new file if
// it is a checkpoint. It leads to that position.
func (l *groupLog) take(raw []byte, f frames.Frame, next replayed, batches []pinetree.Batch) error {
	l.buf = l.buf[:0]
	file := l.active()
	if f.Kind == frames.Checkpoint {
		var err error
		if file, err = l.create(next.position); err != nil {
			return err
		}
		file.body = f.End()
	}
	l.parts = append(l.parts[:0], l.buf, raw)
	if err := l.write(file); err != nil {
		return err
	}
	file.index.note(batches, f)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance(file, f.End(), next)
	return nil
}

func (l *groupLog) active() *logFile {
	if len(l.files) == 0 {
		return nil
	}
	return l.files[len(l.files)-1]
}

// begin makes a new file and puts its header and checkpoint into buf.
func (l *groupLog) begin(at replayed) (*logFile, error) {
	file, err := l.create(at.position)
	if err != nil {
		return nil, err
	}
	var records [][]byte
	err = at.meta.Each(func(record []byte) error {
		records = append(records, record)
		return nil
	})
	if err != nil {
		return nil, err
	}
	head, err := storepb.EncodeState(at.position, records)
	if err != nil {
		return nil, fmt.Errorf("position of group %d: %w", l.group, err)
	}
	h := frames.Header{Kind: frames.Checkpoint, Flags: frames.Whole | frames.Membership, Head: len(head), Synced: l.synced}
	l.buf = append(l.buf, make([]byte, frames.HeaderBytes)...)
	l.buf = append(l.buf, head...)
	frames.Seal(l.buf[frames.FileHeaderBytes:], l.place(l.end), h)
	l.buf = append(l.buf, h.Tail()...)
	file.body = file.base + frames.Offset(h.Size())
	return file, nil
}

// create makes a new file after the end and puts its header into buf. It is
// not one of the log's before something was written to it.
func (l *groupLog) create(position pinetree.Position) (*logFile, error) {
	created, err := l.set.Create(l.logName(l.end))
	if err != nil {
		return nil, err
	}
	f := newLogFile(created, l.life, l.end)
	f.start, f.synced = startsOf(position), l.synced
	l.unnamed = true
	l.buf = append(l.buf, l.file(l.end).Header()...)
	return f, nil
}

// write writes the parts at hand after what is in the file.
func (l *groupLog) write(file *logFile) error {
	handle, err := file.Open()
	if err != nil {
		return err
	}
	physical := int64(0)
	if file == l.active() {
		physical = frames.FileHeaderBytes + int64(l.end-file.base)
	} else {
		l.begun = 0
	}
	end := physical
	for _, p := range l.parts {
		end += int64(len(p))
	}
	err = handle.WriteParts(l.parts, physical)
	clear(l.parts)
	file.Done(true)
	if err != nil {
		return fmt.Errorf("write %s: %w", file.Name(), err)
	}
	l.writeBack(file, end)
	return nil
}

// advance makes a write visible. The lock must be held.
func (l *groupLog) advance(file *logFile, end frames.Offset, next replayed) {
	if file != l.active() {
		l.files = append(l.files, file)
	}
	l.end, l.replayed = end, next
	l.unsynced = true
}

// flush makes everything durable, notes so in the log, and removes the files
// that are no longer needed.
func (l *groupLog) flush() error {
	if !l.unsynced {
		return nil
	}
	if err := l.sync(); err != nil {
		return err
	}
	if err := l.mark(); err != nil {
		return err
	}
	l.trim()
	l.uncache()
	return nil
}

// sync makes everything durable.
func (l *groupLog) sync() error {
	for i := len(l.files) - 1; i >= 0; i-- {
		if err := l.files[i].Sync(); err != nil {
			return err
		}
		if l.files[i].base <= l.synced {
			break // the files before it were synced with it in the list
		}
	}
	if l.unnamed {
		if err := l.set.SyncDir(); err != nil {
			return err
		}
		l.unnamed = false
	}
	l.synced, l.unsynced = l.end, false
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushed = l.position
	return nil
}

// mark writes down that everything is synced. It need not be durable itself, but a
// process that ends leaves it.
func (l *groupLog) mark() error {
	h := frames.Header{Kind: frames.Mark, Synced: l.synced}
	l.buf = append(l.buf[:0], make([]byte, frames.HeaderBytes)...)
	frames.Seal(l.buf, l.place(l.end), h)
	l.parts = append(l.parts[:0], l.buf, h.Tail())
	if err := l.write(l.active()); err != nil {
		return err
	}
	l.writeOut(h.Size())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end += frames.Offset(h.Size())
	return nil
}

// trim removes the files all of whose batches are truncated for good. One that
// cannot be removed is left for the next start to try.
func (l *groupLog) trim() {
	l.mu.Lock()
	// A file goes only when the checkpoint of another says that its frames were
	// synced, and surely survives: else a crash that brings the file back, or
	// not, would leave a log without a beginning.
	var proven frames.Offset
	for _, f := range l.files {
		if f.base < l.synced {
			proven = f.synced
		}
	}
	n := 0
	for n+1 < len(l.files) && l.files[n+1].base <= proven && l.files[n+1].truncated(l.flushed) {
		n++
	}
	gone := l.files[:n]
	l.files = slices.Clone(l.files[n:])
	l.mu.Unlock()
	for _, f := range gone {
		if err := f.Drop(); err != nil {
			l.log.Warn("a truncated file of the log stays", "err", err)
		}
	}
}

// truncated tells whether everything before the file is below the truncated
// LSNs of a position.
func (f *logFile) truncated(p pinetree.Position) bool {
	for id, lsn := range f.start {
		if v, ok := p.Volumes[id]; ok && lsn > max(v.Truncated, v.Base) {
			return false
		}
	}
	return true
}

// drop removes all files of the log, those that are pinned later.
func (l *groupLog) drop() error {
	var failed error
	for _, f := range l.files {
		failed = errors.Join(failed, f.Drop())
	}
	return failed
}

// difference is what has to be written of a position after another.
func difference(old, next pinetree.Position) (changed pinetree.Position, flags byte) {
	for id := range old.Volumes {
		if _, ok := next.Volumes[id]; !ok {
			return next, frames.Whole | frames.Membership
		}
	}
	changed = next
	if bytes.Equal(old.Membership, next.Membership) {
		changed.Membership = nil
	} else {
		flags = frames.Membership
	}
	changed.Volumes = map[pinetree.VolumeID]pinetree.VolumePosition{}
	for id, v := range next.Volumes {
		if before, ok := old.Volumes[id]; !ok || !before.Equal(v) {
			changed.Volumes[id] = v
		}
	}
	return changed, flags
}

// mergePositions is the position after a frame, given the one before and the frame's.
func mergePositions(old, changed pinetree.Position, flags byte) pinetree.Position {
	if flags&frames.Whole != 0 {
		return changed
	}
	next := changed
	if flags&frames.Membership == 0 {
		next.Membership = old.Membership
	}
	next.Volumes = old.Clone().Volumes
	for id, v := range changed.Volumes {
		next.Volumes[id] = v
	}
	return next
}

func startsOf(p pinetree.Position) map[pinetree.VolumeID]pinetree.LSN {
	start := make(map[pinetree.VolumeID]pinetree.LSN, len(p.Volumes))
	for id, v := range p.Volumes {
		start[id] = v.LSN
	}
	return start
}
