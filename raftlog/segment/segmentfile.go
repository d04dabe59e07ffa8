package segment

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
)

const (
	fileSuffix = ".raftlog"
	newSuffix  = ".new"
)

func fileName(segment uint64) string { return fmt.Sprintf("%016d%s", segment, fileSuffix) }

// segmentNumber reads a name that fileName made.
func segmentNumber(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, fileSuffix)
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
	filled int64 // written, with frames or zeroes, up to here
	// users are the store and the readers. The last one closes the file, which
	// may have been deleted meanwhile.
	users atomic.Int32
}

func newSegmentFile(number uint64, file File) *segmentFile {
	f := &segmentFile{number: number, file: file}
	f.users.Store(1)
	return f
}

func (f *segmentFile) acquire() { f.users.Add(1) }

func (f *segmentFile) release() error {
	if f.users.Add(-1) == 0 {
		return f.file.Close()
	}
	return nil
}

// write appends the batch's frames with one write, and zeroes up to the next
// multiple of fill when it comes beyond what is filled.
func (f *segmentFile) write(b *batch, fill int64) error {
	end := f.end + int64(len(b.buf))
	filled := f.filled
	if end > filled {
		filled = (end + fill - 1) / fill * fill
		b.buf = append(b.buf, zeroes[:filled-end]...)
	}
	if _, err := f.file.WriteAt(b.buf, f.end); err != nil {
		return fmt.Errorf("write %s: %w", fileName(f.number), err)
	}
	f.end, f.filled = end, filled
	return nil
}

// sync makes all that was written durable.
func (f *segmentFile) sync() error {
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", fileName(f.number), err)
	}
	f.synced = f.end
	return nil
}

// createSegment makes a segment with a checkpoint of the states, durably, name
// and all.
func createSegment(fs FS, number uint64, states []state, fill int64) (*segmentFile, error) {
	name := fileName(number)
	file, err := fs.Create(name + newSuffix)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	f := newSegmentFile(number, file)
	if err := fillSegment(fs, f, states, fill); err != nil {
		file.Close()
		return nil, err
	}
	return f, nil
}

func fillSegment(fs FS, f *segmentFile, states []state, fill int64) error {
	name := fileName(f.number)
	var b batch
	b.reset(place{f.number, 0}, fileHeaderBytes)
	b.buf = append(b.buf, fileHeader(f.number)...)
	b.addCheckpoint(states)
	if err := f.write(&b, fill); err != nil {
		return err
	}
	if err := f.sync(); err != nil {
		return err
	}
	f.begin = f.end
	if err := fs.Rename(name+newSuffix, name); err != nil {
		return fmt.Errorf("rename %s: %w", name+newSuffix, err)
	}
	if err := fs.SyncDir(); err != nil {
		return fmt.Errorf("sync the directory of %s: %w", name, err)
	}
	return nil
}
