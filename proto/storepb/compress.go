package storepb

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/s2"

	"github.com/pinetree-db/pinetree"
)

const (
	// leastCompressed is the length of the shortest body that is worth trying, in
	// bytes, and leastSaved the part of a body that must be saved.
	leastCompressed, leastSaved = 256, 8
)

// Compressor makes batches smaller, by the block format of Snappy, for which there is
// a library in every language
// (https://github.com/google/snappy/blob/main/format_description.txt): what the log of
// PostgreSQL takes becomes half to a sixteenth, at a gigabyte a second; to find that
// noise cannot become smaller takes a twentieth of that time. The zero Compressor is
// ready; one goroutine at a time may use it.
type Compressor struct {
	scratch []byte
}

// Compress returns the batch with the same header and records, encoded in fewer bytes;
// or the same batch. It must have come from EncodeBatch.
func (c *Compressor) Compress(b pinetree.Batch) pinetree.Batch {
	body := b.Encoded[BatchHeaderBytes:]
	if len(body) < leastCompressed || b.Encoded[4] != batchVersion {
		return b
	}
	if need := s2.MaxEncodedLen(len(body)); cap(c.scratch) < need {
		c.scratch = make([]byte, need)
	}
	small := s2.EncodeSnappy(c.scratch[:cap(c.scratch)], body)
	if len(small) > len(body)-len(body)/leastSaved {
		return b
	}
	buf := make([]byte, BatchHeaderBytes+len(small))
	copy(buf, b.Encoded[:BatchHeaderBytes])
	copy(buf[BatchHeaderBytes:], small)
	le := binary.LittleEndian
	le.PutUint32(buf[4:], uint32(len(body))<<8|compressedVersion)
	le.PutUint32(buf[44:], uint32(len(small)))
	le.PutUint32(buf, crc32.Checksum(buf[4:], Castagnoli))
	b.Encoded = buf
	return b
}

// PlainSize is the size in bytes that a batch had before it was compressed.
func PlainSize(b pinetree.Batch) int {
	if b.Encoded[4] == batchVersion {
		return b.Size()
	}
	return BatchHeaderBytes + plainBodyBytes(b)
}

// plainBodyBytes is what the header of a compressed batch says.
func plainBodyBytes(b pinetree.Batch) int {
	return int(binary.LittleEndian.Uint32(b.Encoded[4:]) >> 8)
}

// plainBody returns the body of a batch as EncodeBatch made it: in memory of its own
// if the batch is compressed, shared with the batch if not.
func plainBody(b pinetree.Batch) ([]byte, error) {
	body := b.Encoded[BatchHeaderBytes:]
	if b.Encoded[4] == batchVersion {
		return body, nil
	}
	want := plainBodyBytes(b)
	if got, err := s2.DecodedLen(body); err != nil || got != want || want > MaxBatchBytes-BatchHeaderBytes {
		return nil, corruptBatch(b, fmt.Sprintf("its compressed body says that it has %d bytes, the header %d, the limit is %d", got, want, MaxBatchBytes-BatchHeaderBytes))
	}
	plain, err := s2.Decode(nil, body)
	if err != nil {
		return nil, corruptBatch(b, fmt.Sprintf("its body cannot be decompressed: %v", err))
	}
	return plain, nil
}
