package segment

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/pinetree-db/pinetree/raftlog/segment/frame"
)

const (
	newSuffix   = ".new"
	spareSuffix = ".spare"
)

// segmentNumber reads a name that frame.FileName made.
func segmentNumber(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, frame.FileSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n > 0
}

// segmentFile is one open segment. Only the newest is written to.
//
// Invariant: synced ≤ end ≤ filled.
type segmentFile struct {
	number uint64
	file   File
	end    int64 // of the last frame
	begin  int64 // of the first frame after the checkpoint
	synced int64 // surely durable up to here
	filled int64 // the file has something, frames or not, up to here
	// users are the store and the readers. The last one closes the file, which
	// may have been deleted meanwhile.
	users atomic.Int32
}

func newSegmentFile(number uint64, file File) *segmentFile {
	f := &segmentFile{number: number, file: file}
	f.users.Store(1)
	return f
}

func (f *segmentFile) at(offset int64) frame.Place {
	return frame.Place{Segment: f.number, Offset: offset}
}

func (f *segmentFile) acquire() { f.users.Add(1) }

func (f *segmentFile) release() error {
	if f.users.Add(-1) == 0 {
		return f.file.Close()
	}
	return nil
}

// pageBytes is what the page cache keeps together. A write that covers pages
// whole spares it reading what is there.
const pageBytes = 4 << 10

// write appends the batch's frames with one write, and zeroes up to the end of
// their last page, or up to the next multiple of fill when they come beyond
// what is filled.
func (f *segmentFile) write(b *frame.Batch, fill int64) error {
	end := f.end + b.Size()
	filled := f.filled
	page := min(fill, pageBytes) // small files are filled in smaller steps
	upTo := min((end+page-1)/page*page, filled)
	if end > filled {
		filled = (end + fill - 1) / fill * fill
		upTo = filled
	}
	if err := f.file.WriteParts(b.Gather(upTo-end), f.end); err != nil {
		return fmt.Errorf("write %s: %w", frame.FileName(f.number), err)
	}
	f.end, f.filled = end, filled
	return nil
}

// sync makes all that was written durable.
func (f *segmentFile) sync() error {
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", frame.FileName(f.number), err)
	}
	f.synced = f.end
	return nil
}

// note writes an empty frame behind the last one, where the next will be
// written over it.
func (f *segmentFile) note(k frame.Kind) error {
	note := frame.Empty(k, f.at(f.end), f.synced)
	if err := f.file.WriteParts([][]byte{note}, f.end); err != nil {
		return fmt.Errorf("write %s: %w", frame.FileName(f.number), err)
	}
	return nil
}

// creation is how a segment begins.
type creation struct {
	number uint64
	before int64 // where the segment before it ended
	states []frame.State
	fill   int64
}

// create makes a segment with a checkpoint of the states, durably, name and
// all, from the spare file if there is one.
func (c creation) create(fs FS, from *spare) (*segmentFile, error) {
	name := frame.FileName(c.number)
	if from == nil {
		from = &spare{name: name + newSuffix}
		var err error
		if from.file, err = fs.Create(from.name); err != nil {
			return nil, fmt.Errorf("create %s: %w", name, err)
		}
	}
	f := newSegmentFile(c.number, from.file)
	f.filled = from.filled
	if err := c.begin(fs, f, from.name); err != nil {
		f.file.Close()
		return nil, err
	}
	return f, nil
}

func (c creation) begin(fs FS, f *segmentFile, unfinished string) error {
	var b frame.Batch
	b.Reset(frame.Place{Segment: f.number}, frame.FileHeaderBytes)
	b.AddFileHeader(c.before)
	b.AddCheckpoint(c.states)
	if err := f.write(&b, c.fill); err != nil {
		return err
	}
	if err := f.sync(); err != nil {
		return err
	}
	f.begin = f.end
	if err := fs.Rename(unfinished, frame.FileName(f.number)); err != nil {
		return fmt.Errorf("rename %s: %w", unfinished, err)
	}
	if err := fs.SyncDir(); err != nil {
		return fmt.Errorf("sync the directory of %s: %w", frame.FileName(f.number), err)
	}
	return nil
}
