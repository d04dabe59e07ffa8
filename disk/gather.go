package disk

import (
	"errors"
	"io"
	"sync"
)

const (
	// gatherBytes is how much of a file is put together: what it takes for a write
	// around the page cache to cost less than one through it.
	gatherBytes = 256 << 10
	// blockBytes is what such writes begin and end at, in the file and in memory.
	blockBytes = 4 << 10
)

// Gather is a directory in which what is appended to a file is put together in
// memory, up to 256 KiB of it, and written in one piece, around the page cache
// where the file can do that. It is there for who reads the file, and durable after
// Sync; the end of the process loses what was put together since the last Sync,
// WriteBack or Close. At most so many files at once are gathered, and others written
// as they are. Each byte is written once, each page in one of the two ways.
//
// An error of a write may come with a later call, and is then the file's last.
func Gather(fs FS, files int) FS {
	g := gathering{FS: fs, free: make(chan []byte, files)}
	for range files {
		g.free <- nil // its memory is allocated when it is first wanted
	}
	return g
}

type gathering struct {
	FS
	free chan []byte
}

func (g gathering) Create(name string) (File, error) { return g.gathered(g.FS.Create(name)) }

func (g gathering) Open(name string) (File, error) { return g.gathered(g.FS.Open(name)) }

func (g gathering) gathered(f File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &gathered{File: f, free: g.free, size: size}, nil
}

// Direct is implemented by files that can be written around the page cache.
type Direct interface {
	// OpenDirect opens the file for that, or tells why it cannot.
	OpenDirect() (DirectFile, error)
}

// DirectFile is a file that is written around the page cache.
type DirectFile interface {
	// WriteBlocks writes whole blocks of 4 KiB, from memory and to a place in the
	// file that are multiples of that.
	WriteBlocks(b []byte, offset int64) error
	io.Closer
}

// gathered is a File of whose end a part may be in memory.
//
// Invariant: buf[from:to] is what comes in the file after base+from, up to its end,
// and base is a multiple of a block.
type gathered struct {
	File
	free chan []byte

	mu       sync.RWMutex
	size     int64 // with what is in memory
	buf      []byte
	base     int64
	from, to int
	direct   DirectFile
	plain    bool // the file cannot be written around the page cache
	failed   error
}

func (f *gathered) WriteParts(parts [][]byte, offset int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed != nil {
		return f.failed
	}
	if offset != f.size || !f.take() {
		return f.through(parts, offset)
	}
	for _, p := range parts {
		for len(p) > 0 {
			n := copy(f.buf[f.to:], p)
			p = p[n:]
			f.to += n
			f.size += int64(n)
			if f.to < len(f.buf) {
				continue
			}
			if err := f.spill(); err != nil {
				return err
			}
		}
	}
	return nil
}

// take gets memory for what is to be appended. It tells whether there is any.
func (f *gathered) take() bool {
	if f.buf != nil {
		return true
	}
	select {
	case f.buf = <-f.free:
	default:
		return false
	}
	if f.buf == nil {
		// The runtime gives as much as this whole pages of its own, which are
		// multiples of a block; were they not, the kernel would refuse to write
		// from there, and the page cache would take it.
		f.buf = make([]byte, gatherBytes)
	}
	f.from = int(f.size % blockBytes)
	f.to, f.base = f.from, f.size-int64(f.from)
	return true
}

// through writes parts as they are.
func (f *gathered) through(parts [][]byte, offset int64) error {
	if err := f.settle(); err != nil {
		return err
	}
	end := offset
	for _, p := range parts {
		end += int64(len(p))
	}
	if err := f.File.WriteParts(parts, offset); err != nil {
		return f.fail(err)
	}
	f.size = max(f.size, end)
	return nil
}

// spill writes what is in memory: whole blocks around the page cache, what comes
// before and after them through it.
func (f *gathered) spill() error {
	at := f.base + int64(f.from)
	head := min(f.to, (f.from+blockBytes-1)/blockBytes*blockBytes)
	tail := max(head, f.to/blockBytes*blockBytes)
	err := f.write(f.buf[f.from:head], at)
	if err == nil {
		err = f.writeBlocks(f.buf[head:tail], f.base+int64(head))
	}
	if err == nil {
		err = f.write(f.buf[tail:f.to], f.base+int64(tail))
	}
	if err != nil {
		return f.fail(err)
	}
	f.from = int(f.size % blockBytes)
	f.to, f.base = f.from, f.size-int64(f.from)
	return nil
}

func (f *gathered) write(b []byte, at int64) error {
	if len(b) == 0 {
		return nil
	}
	return f.File.WriteParts([][]byte{b}, at)
}

func (f *gathered) writeBlocks(b []byte, at int64) error {
	if len(b) == 0 {
		return nil
	}
	if d, ok := f.File.(Direct); f.direct == nil && !f.plain {
		f.plain = true
		if ok {
			direct, err := d.OpenDirect()
			f.direct, f.plain = direct, err != nil
		}
	}
	if f.plain {
		return f.write(b, at)
	}
	return f.direct.WriteBlocks(b, at)
}

// settle writes what is in memory and gives the memory back.
func (f *gathered) settle() error {
	if f.buf == nil || f.failed != nil {
		return f.failed
	}
	if err := f.spill(); err != nil {
		return err
	}
	f.release()
	return nil
}

// fail makes an error the file's last. What is in memory stays there to be read.
func (f *gathered) fail(err error) error {
	f.failed = err
	return err
}

func (f *gathered) release() {
	if f.buf != nil {
		f.free <- f.buf
		f.buf = nil
	}
}

func (f *gathered) ReadAt(b []byte, offset int64) (int, error) {
	f.mu.RLock()
	if f.buf == nil || offset+int64(len(b)) <= f.base+int64(f.from) {
		f.mu.RUnlock()
		return f.File.ReadAt(b, offset)
	}
	at, held := f.base+int64(f.from), f.buf[f.from:f.to]
	written := int(max(0, at-offset)) // what of b is in the file, where it stays
	n := copy(b[written:], held[min(int64(len(held)), max(0, offset-at)):])
	f.mu.RUnlock()
	if written > 0 {
		if n, err := f.File.ReadAt(b[:written], offset); err != nil {
			return n, err
		}
	}
	if written+n < len(b) {
		return written + n, io.EOF
	}
	return written + n, nil
}

func (f *gathered) Size() (int64, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.size, nil
}

func (f *gathered) Sync() error {
	f.mu.Lock()
	err := f.settle()
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return f.File.Sync()
}

// WriteBack implements Cached. An error of the writing is told by the next Sync.
func (f *gathered) WriteBack(s Span) {
	f.mu.Lock()
	_ = f.settle()
	f.mu.Unlock()
	if c, ok := f.File.(Cached); ok {
		c.WriteBack(s)
	}
}

// Uncache implements Cached.
func (f *gathered) Uncache(s Span) {
	if c, ok := f.File.(Cached); ok {
		c.Uncache(s)
	}
}

func (f *gathered) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.settle()
	f.release()
	if f.direct != nil {
		err = errors.Join(err, f.direct.Close())
	}
	return errors.Join(err, f.File.Close())
}
