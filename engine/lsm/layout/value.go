package layout

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

const (
	// MaxChunkBytes keeps a chunk and its key within a chunk of a snapshot.
	MaxChunkBytes = 512 << 10
	// maxChunks is what one byte numbers.
	maxChunks = 255

	// ChecksumBytes is the length of the checksum that a chunk begins with.
	ChecksumBytes = 4
	// ChunkHeaderBytes is that of all that comes before the value: the number of
	// chunks, too.
	ChunkHeaderBytes = ChecksumBytes + 1
)

// AppendValue cuts a value, given as parts that are to be joined, into chunks
// under a stem, to which it adds the chunk numbers.
func AppendValue(entries []sorted.Entry, stem []byte, parts ...[]byte) ([]sorted.Entry, error) {
	total := 0
	for _, p := range parts {
		total += len(p)
	}
	chunks := max(1, (total+MaxChunkBytes-1)/MaxChunkBytes)
	if chunks > maxChunks {
		return nil, fmt.Errorf("value of %d bytes under key %x: the limit is %d", total, stem, maxChunks*MaxChunkBytes)
	}
	for i := range chunks {
		key := stem
		if chunks > 1 {
			key = bytes.Clone(stem)
		}
		key = append(key, byte(i))
		size := min(total, MaxChunkBytes)
		total -= size
		value := make([]byte, ChunkHeaderBytes, ChunkHeaderBytes+size)
		value[4] = byte(chunks)
		for size > 0 {
			n := min(size, len(parts[0]))
			value = append(value, parts[0][:n]...)
			size -= n
			if parts[0] = parts[0][n:]; len(parts[0]) == 0 {
				parts = parts[1:]
			}
		}
		binary.LittleEndian.PutUint32(value, Checksum(key, value))
		entries = append(entries, sorted.Entry{Key: key, Value: value})
	}
	return entries, nil
}

// AppendBuilt is AppendValue of one part, which has room for a chunk's header
// before it. It takes the memory if it can.
func AppendBuilt(entries []sorted.Entry, stem, buf []byte) ([]sorted.Entry, error) {
	if len(buf) > ChunkHeaderBytes+MaxChunkBytes {
		return AppendValue(entries, stem, buf[ChunkHeaderBytes:])
	}
	key := append(stem, 0)
	buf[ChecksumBytes] = 1
	binary.LittleEndian.PutUint32(buf, Checksum(key, buf))
	return append(entries, sorted.Entry{Key: key, Value: buf}), nil
}

// Checksum is that of a chunk, over its key and all of the value but the checksum.
func Checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, storepb.Castagnoli), storepb.Castagnoli, value[4:])
}

// SealChunk is an entry of a value's chunk, given without its checksum.
func SealChunk(key, body []byte) sorted.Entry {
	value := append(make([]byte, ChecksumBytes, ChecksumBytes+len(body)), body...)
	binary.LittleEndian.PutUint32(value, Checksum(key, value))
	return sorted.Entry{Key: key, Value: value}
}

// ReadValue joins the chunks of the value that the iterator stands on and
// leaves it behind the last one. It returns the value in memory of its own.
func ReadValue(it sorted.Iterator) ([]byte, error) {
	var value []byte
	var stem []byte
	for i, chunks := 0, 1; i < chunks; i++ {
		if !it.Valid() {
			return nil, BadChunk(stem, "chunk %d of %d is missing", i, chunks)
		}
		key := it.Key()
		if i == 0 {
			stem = bytes.Clone(key[:len(key)-ChunkBytes])
		}
		if len(key) != len(stem)+ChunkBytes || !bytes.HasPrefix(key, stem) || int(key[len(stem)]) != i {
			return nil, BadChunk(stem, "chunk %d of %d is missing, %x is there", i, chunks, key)
		}
		err := it.Value(func(raw []byte) error {
			body, n, err := OpenChunk(key, raw)
			if err != nil {
				return err
			}
			if i > 0 && n != chunks {
				return BadChunk(stem, "chunk %d is one of %d, the first one of %d", i, n, chunks)
			}
			value, chunks = append(value, body...), n
			return nil
		})
		if err != nil {
			return nil, err
		}
		it.Next()
	}
	return value, nil
}

// OpenChunk checks a chunk and returns its part of the value, which shares
// raw's memory, and the number of chunks.
func OpenChunk(key, raw []byte) (body []byte, chunks int, err error) {
	if len(raw) < ChunkHeaderBytes {
		return nil, 0, BadChunk(key, "%d bytes, less than a header", len(raw))
	}
	if got, want := Checksum(key, raw), binary.LittleEndian.Uint32(raw); got != want {
		return nil, 0, BadChunk(key, "CRC32C is %08x, should be %08x", got, want)
	}
	if raw[4] == 0 {
		return nil, 0, BadChunk(key, "no chunks")
	}
	return raw[ChunkHeaderBytes:], int(raw[4]), nil
}

// BadChunk is the error of what is stored under a key and is wrong.
func BadChunk(key []byte, format string, args ...any) error {
	return &pinetree.CorruptError{Where: fmt.Sprintf("key %x", key), What: fmt.Sprintf(format, args...)}
}
