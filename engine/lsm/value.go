package lsm

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
	// maxChunkBytes keeps a chunk and its key within a chunk of a snapshot.
	maxChunkBytes = 512 << 10
	// maxChunks is what one byte numbers.
	maxChunks = 255

	checksumBytes    = 4
	chunkHeaderBytes = checksumBytes + 1 // and the number of chunks
)

// entry is one chunk, or the removal of a key.
type entry = sorted.Entry

// appendValue cuts a value, given as parts that are to be joined, into chunks
// under a stem, to which it adds the chunk numbers.
func appendValue(entries []entry, stem []byte, parts ...[]byte) ([]entry, error) {
	total := 0
	for _, p := range parts {
		total += len(p)
	}
	chunks := max(1, (total+maxChunkBytes-1)/maxChunkBytes)
	if chunks > maxChunks {
		return nil, fmt.Errorf("value of %d bytes under key %x: the limit is %d", total, stem, maxChunks*maxChunkBytes)
	}
	for i := range chunks {
		key := stem
		if chunks > 1 {
			key = bytes.Clone(stem)
		}
		key = append(key, byte(i))
		size := min(total, maxChunkBytes)
		total -= size
		value := make([]byte, chunkHeaderBytes, chunkHeaderBytes+size)
		value[4] = byte(chunks)
		for size > 0 {
			n := min(size, len(parts[0]))
			value = append(value, parts[0][:n]...)
			size -= n
			if parts[0] = parts[0][n:]; len(parts[0]) == 0 {
				parts = parts[1:]
			}
		}
		binary.LittleEndian.PutUint32(value, checksum(key, value))
		entries = append(entries, entry{Key: key, Value: value})
	}
	return entries, nil
}

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, storepb.Castagnoli), storepb.Castagnoli, value[4:])
}

// readValue joins the chunks of the value that the iterator stands on and
// leaves it behind the last one. It returns the value in memory of its own.
func readValue(it sorted.Iterator) ([]byte, error) {
	var value []byte
	var stem []byte
	for i, chunks := 0, 1; i < chunks; i++ {
		if !it.Valid() {
			return nil, badChunk(stem, "chunk %d of %d is missing", i, chunks)
		}
		key := it.Key()
		if i == 0 {
			stem = bytes.Clone(key[:len(key)-chunkBytes])
		}
		if len(key) != len(stem)+chunkBytes || !bytes.HasPrefix(key, stem) || int(key[len(stem)]) != i {
			return nil, badChunk(stem, "chunk %d of %d is missing, %x is there", i, chunks, key)
		}
		err := it.Value(func(raw []byte) error {
			body, n, err := openChunk(key, raw)
			if err != nil {
				return err
			}
			if i > 0 && n != chunks {
				return badChunk(stem, "chunk %d is one of %d, the first one of %d", i, n, chunks)
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

// openChunk checks a chunk and returns its part of the value, which shares
// raw's memory, and the number of chunks.
func openChunk(key, raw []byte) (body []byte, chunks int, err error) {
	if len(raw) < chunkHeaderBytes {
		return nil, 0, badChunk(key, "%d bytes, less than a header", len(raw))
	}
	if got, want := checksum(key, raw), binary.LittleEndian.Uint32(raw); got != want {
		return nil, 0, badChunk(key, "CRC32C is %08x, should be %08x", got, want)
	}
	if raw[4] == 0 {
		return nil, 0, badChunk(key, "no chunks")
	}
	return raw[chunkHeaderBytes:], int(raw[4]), nil
}

func badChunk(key []byte, format string, args ...any) error {
	return &pinetree.CorruptError{Where: fmt.Sprintf("key %x", key), What: fmt.Sprintf(format, args...)}
}
