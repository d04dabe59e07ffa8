package engine

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// A chunk of a snapshot, little endian:
//
//	offset size
//	0      4    CRC32C of everything after it
//	4      4    number, from zero
//	8      8    raft index of the state
//	16     8    raft term of that index
//	24     1    1 in the last chunk, else 0
//	25     1    length of the backend's name
//	26     …    the backend's name, then the body, which only the backend reads
const (
	chunkHeaderBytes = 26

	// MaxChunkBytes bounds a chunk, header included.
	MaxChunkBytes = 1 << 20
	// MaxChunkBodyBytes is what a chunk has room for under any backend's name.
	MaxChunkBodyBytes = MaxChunkBytes - chunkHeaderBytes - maxBackendName

	maxBackendName = 64
)

// ChunkStream names the snapshot that chunks belong to, so that those of one
// are never taken for those of another.
type ChunkStream struct {
	Backend string // 1 to 64 bytes
	Index   pinetree.RaftIndex
	Term    pinetree.RaftTerm
}

// StreamOf is the stream of a backend's snapshot at a position.
func StreamOf(backend string, at pinetree.Position) ChunkStream {
	return ChunkStream{Backend: backend, Index: at.Index, Term: at.Term}
}

// ChunkWriter cuts the bytes of a snapshot into sealed chunks. It is used by
// one goroutine and holds one chunk.
type ChunkWriter struct {
	fn     func([]byte) error
	header []byte // what it is in every chunk
	buf    []byte
	number uint32
}

// NewChunkWriter makes a writer that gives each chunk to fn, which must not
// keep it.
func NewChunkWriter(s ChunkStream, fn func([]byte) error) *ChunkWriter {
	header := make([]byte, chunkHeaderBytes, chunkHeaderBytes+len(s.Backend))
	binary.LittleEndian.PutUint64(header[8:], uint64(s.Index))
	binary.LittleEndian.PutUint64(header[16:], uint64(s.Term))
	header[25] = byte(len(s.Backend))
	header = append(header, s.Backend...)
	return &ChunkWriter{fn: fn, header: header, buf: append(make([]byte, 0, MaxChunkBytes), header...)}
}

// Write implements io.Writer. The bytes are cut wherever a chunk is full; who
// wants to keep some together calls Cut when Free is less than they need.
func (w *ChunkWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		if w.Free() == 0 {
			if err := w.Cut(); err != nil {
				return written, err
			}
		}
		n := min(w.Free(), len(p))
		w.buf = append(w.buf, p[:n]...)
		p, written = p[n:], written+n
	}
	return written, nil
}

// Free is how many bytes the chunk at hand has room for.
func (w *ChunkWriter) Free() int { return MaxChunkBytes - len(w.buf) }

// Cut ends the chunk at hand and begins the next one.
func (w *ChunkWriter) Cut() error { return w.send(0) }

// End sends the last chunk, which may be empty. Without it a Restore does not
// commit.
func (w *ChunkWriter) End() error { return w.send(1) }

func (w *ChunkWriter) send(last byte) error {
	binary.LittleEndian.PutUint32(w.buf[4:], w.number)
	w.buf[24] = last
	binary.LittleEndian.PutUint32(w.buf, crc32.Checksum(w.buf[4:], storepb.Castagnoli))
	w.number++
	err := w.fn(w.buf)
	w.buf = append(w.buf[:0], w.header...)
	return err
}

// ChunkReader checks the chunks of one stream. It is used by one goroutine.
type ChunkReader struct {
	stream ChunkStream
	next   uint32
	ended  bool
}

// NewChunkReader makes a reader of a stream from its first chunk on.
func NewChunkReader(s ChunkStream) *ChunkReader { return &ChunkReader{stream: s} }

// Open checks the next chunk and returns its body, which shares its memory. A
// chunk that is damaged is a *pinetree.CorruptError; one that is of another
// stream or not the next one is an error that names both.
func (r *ChunkReader) Open(chunk []byte) ([]byte, error) {
	le := binary.LittleEndian
	damaged := func(format string, args ...any) error {
		return &pinetree.CorruptError{Where: fmt.Sprintf("chunk %d of the snapshot at index %d", r.next, r.stream.Index), What: fmt.Sprintf(format, args...)}
	}
	if len(chunk) < chunkHeaderBytes || len(chunk) > MaxChunkBytes {
		return nil, damaged("%d bytes, a chunk has %d to %d", len(chunk), chunkHeaderBytes, MaxChunkBytes)
	}
	if got, want := crc32.Checksum(chunk[4:], storepb.Castagnoli), le.Uint32(chunk); got != want {
		return nil, damaged("CRC32C is %08x, should be %08x; send the snapshot again", got, want)
	}
	last, name, body := chunk[24], int(chunk[25]), chunk[chunkHeaderBytes:]
	if name > len(body) || last > 1 {
		return nil, damaged("its header does not decode")
	}
	of := ChunkStream{Backend: string(body[:name]), Index: pinetree.RaftIndex(le.Uint64(chunk[8:])), Term: pinetree.RaftTerm(le.Uint64(chunk[16:]))}
	switch number := le.Uint32(chunk[4:]); {
	case of.Backend != r.stream.Backend:
		return nil, fmt.Errorf("the snapshot is of engine %q, this node's engine is %q: run the replicas of a group with the same engine", of.Backend, r.stream.Backend)
	case of != r.stream:
		return nil, fmt.Errorf("a chunk of the snapshot at index %d of term %d came, the one at index %d of term %d is being restored", of.Index, of.Term, r.stream.Index, r.stream.Term)
	case r.ended:
		return nil, fmt.Errorf("chunk %d came after the last one, %d", number, r.next-1)
	case number != r.next:
		return nil, fmt.Errorf("chunk %d came, chunk %d is the next one", number, r.next)
	}
	r.next++
	r.ended = last == 1
	return body[name:], nil
}

// Check is an error unless the last chunk was read.
func (r *ChunkReader) Check() error {
	if !r.ended {
		return fmt.Errorf("the snapshot at index %d is not whole: the last of its chunks is not among the first %d", r.stream.Index, r.next)
	}
	return nil
}
