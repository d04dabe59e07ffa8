package pgwal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/pinetree-db/pinetree"
)

var (
	// errAbsent: no file has the position.
	errAbsent = errors.New("no such segment")
	// errOversize: the file is longer than a segment.
	errOversize = errors.New("longer than a segment")
)

// chunkBytes are read at a time. A chunk lies in one segment.
const chunkBytes = 1 << 20

// reader gives the bytes of the log by position. What it hands out stays valid,
// because a chunk's memory is never used again; records within one chunk need
// no copy.
type reader struct {
	segments     []segment
	segmentBytes pinetree.LSN
	file         fs.File
	at           io.ReaderAt
	opened       int // index of the segment that is open, while file is not nil
	chunks       [2]chunk
}

// chunk is a part of the log as it is in the files; it is short when the file
// is.
type chunk struct {
	start pinetree.LSN
	data  []byte
	full  bool // false in the zero chunk
}

func (c chunk) has(pos pinetree.LSN) bool {
	return c.full && pos >= c.start && pos < c.start+chunkBytes
}

// find returns the index of the segment that has the position, or where it
// would be.
func (r *reader) find(pos pinetree.LSN) (int, bool) {
	start := pos - pos%r.segmentBytes
	return slices.BinarySearchFunc(r.segments, start, func(s segment, start pinetree.LSN) int {
		switch at := s.start(r.segmentBytes); {
		case at < start:
			return -1
		case at > start:
			return 1
		}
		return 0
	})
}

// page returns the bytes of the page at pos: fewer than pageBytes when the file
// ends in it, and errAbsent when there is no file.
func (r *reader) page(pos pinetree.LSN) ([]byte, error) {
	c, err := r.chunk(pos)
	if err != nil {
		return nil, err
	}
	from := min(pos-c.start, pinetree.LSN(len(c.data)))
	to := min(from+pageBytes, pinetree.LSN(len(c.data)))
	return c.data[from:to:to], nil
}

// bytes returns the bytes of [from, to), all of which page has returned before.
func (r *reader) bytes(from, to pinetree.LSN) ([]byte, error) {
	c, err := r.chunk(from)
	if err != nil {
		return nil, err
	}
	if to <= c.start+pinetree.LSN(len(c.data)) {
		return c.data[from-c.start : to-c.start : to-c.start], nil
	}
	out := make([]byte, 0, to-from)
	for from < to {
		if c, err = r.chunk(from); err != nil {
			return nil, err
		}
		end := min(to, c.start+pinetree.LSN(len(c.data)))
		if end <= from {
			return nil, fmt.Errorf("segment %s became shorter while it was read", r.name(from))
		}
		out = append(out, c.data[from-c.start:end-c.start]...)
		from = end
	}
	return out, nil
}

// chunk returns the chunk that holds pos, the last two from memory.
func (r *reader) chunk(pos pinetree.LSN) (chunk, error) {
	for _, c := range r.chunks {
		if c.has(pos) {
			return c, nil
		}
	}
	i, found := r.find(pos)
	if !found {
		return chunk{}, errAbsent
	}
	if err := r.open(i); err != nil {
		return chunk{}, err
	}
	c := chunk{start: pos - pos%chunkBytes, data: make([]byte, chunkBytes), full: true}
	n, err := r.at.ReadAt(c.data, int64(c.start%r.segmentBytes))
	if err != nil && err != io.EOF {
		return chunk{}, fmt.Errorf("read WAL segment %s: %w", r.segments[i].name, err)
	}
	c.data = c.data[:n]
	r.chunks[0], r.chunks[1] = r.chunks[1], c
	return c, nil
}

func (r *reader) open(i int) error {
	if r.file != nil && r.opened == i {
		return nil
	}
	if err := r.close(); err != nil {
		return err
	}
	file, at, err := openSegment(r.segments[i])
	if err != nil {
		return err
	}
	r.file, r.at, r.opened = file, at, i
	info, err := file.Stat()
	if err == nil && info.Size() > int64(r.segmentBytes) {
		err = errOversize
	}
	if err != nil {
		return errors.Join(err, r.close())
	}
	return nil
}

func openSegment(s segment) (fs.File, io.ReaderAt, error) {
	file, err := s.open()
	if err != nil {
		return nil, nil, fmt.Errorf("open WAL segment: %w", err)
	}
	at, ok := file.(io.ReaderAt)
	if !ok {
		return nil, nil, errors.Join(fmt.Errorf("WAL segment %s cannot be read at a position; unpack it first", s.name), file.Close())
	}
	return file, at, nil
}

func (r *reader) close() error {
	if r.file == nil {
		return nil
	}
	file := r.file
	r.file, r.at = nil, nil
	return file.Close()
}

// timeline of the file that has the position.
func (r *reader) timeline(pos pinetree.LSN) uint32 {
	if i, found := r.find(pos); found {
		return r.segments[i].timeline
	}
	return 0
}

// name of the segment that has the position, or would have it.
func (r *reader) name(pos pinetree.LSN) string {
	i, found := r.find(pos)
	if found {
		return r.segments[i].name
	}
	timeline := r.segments[max(0, i-1)].timeline
	return fmt.Sprintf("%08X%08X%08X", timeline, uint32(pos>>32), uint32(pos)/uint32(r.segmentBytes))
}

// segmentEnd is where the segment that holds the byte at pos ends.
func (r *reader) segmentEnd(pos pinetree.LSN) pinetree.LSN {
	return pos - pos%r.segmentBytes + r.segmentBytes
}
