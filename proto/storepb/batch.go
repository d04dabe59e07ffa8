package storepb

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/pinetree-db/pinetree"
)

// The encoded batch, little endian:
//
//	offset size
//	0      4    CRC32C of everything after it
//	4      1    version: 1, or 2 when the body is compressed
//	5      3    zero; when the body is compressed, its length before that in bytes
//	8      8    volume
//	16     8    compute term
//	24     8    prev LSN
//	32     8    LSN
//	40     4    number of records
//	44     4    length of the body in bytes
//	48     …    body: per record uvarint(LSN − prev), uvarint(length), payload;
//	            when compressed, a Snappy block of that
//
// The writer makes it once; it travels unchanged to every disk and reader.
const (
	// BatchHeaderBytes is the length of an encoded batch's header.
	BatchHeaderBytes = 48

	batchVersion      = 1
	compressedVersion = 2

	// MaxBatchBytes bounds an encoded batch, header included, and with it a
	// record. It keeps a batch well within one gRPC message, one raft entry and
	// one engine transaction.
	MaxBatchBytes = 8 << 20
)

// Castagnoli is the table of CRC32C, the checksum of everything written.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// EncodeBatch makes a batch of neighbouring records. It reports
// pinetree.ErrBadBatch when there is no record, when a record does not follow
// directly on the one before it or does not rise, or when the batch is larger
// than MaxBatchBytes. The payloads are copied.
func EncodeBatch(volume pinetree.VolumeID, term pinetree.ComputeTerm, records []pinetree.Record) (pinetree.Batch, error) {
	if len(records) == 0 {
		return pinetree.Batch{}, fmt.Errorf("%w: no records", pinetree.ErrBadBatch)
	}
	size := BatchHeaderBytes
	for _, r := range records {
		size += 2*binary.MaxVarintLen64 + len(r.Payload)
	}
	buf := make([]byte, BatchHeaderBytes, size)
	prev := records[0].Prev
	for _, r := range records {
		if r.Prev != prev || r.LSN <= r.Prev {
			return pinetree.Batch{}, fmt.Errorf("%w: record (%s, %s] does not follow on %s", pinetree.ErrBadBatch, r.Prev, r.LSN, prev)
		}
		buf = binary.AppendUvarint(buf, uint64(r.LSN-r.Prev))
		buf = binary.AppendUvarint(buf, uint64(len(r.Payload)))
		buf = append(buf, r.Payload...)
		prev = r.LSN
	}
	if len(buf) > MaxBatchBytes {
		return pinetree.Batch{}, fmt.Errorf("%w: %d bytes encoded, the limit is %d; ship fewer or smaller records together", pinetree.ErrBadBatch, len(buf), MaxBatchBytes)
	}
	le := binary.LittleEndian
	buf[4] = batchVersion
	le.PutUint64(buf[8:], uint64(volume))
	le.PutUint64(buf[16:], uint64(term))
	le.PutUint64(buf[24:], uint64(records[0].Prev))
	le.PutUint64(buf[32:], uint64(prev))
	le.PutUint32(buf[40:], uint32(len(records)))
	le.PutUint32(buf[44:], uint32(len(buf)-BatchHeaderBytes))
	le.PutUint32(buf, crc32.Checksum(buf[4:], Castagnoli))
	return pinetree.Batch{Volume: volume, Term: term, Prev: records[0].Prev, LSN: prev, Count: len(records), Encoded: buf}, nil
}

// DecodeBatch reads and checks the batch at the start of buf and returns what
// follows it. The batch shares buf's memory. A wrong checksum or structure is
// a *pinetree.CorruptError.
func DecodeBatch(buf []byte) (b pinetree.Batch, rest []byte, err error) {
	b, rest, err = PeekBatch(buf)
	if err != nil {
		return b, rest, err
	}
	if got, want := checksum(b.Encoded[4:]), binary.LittleEndian.Uint32(b.Encoded); got != want {
		return b, nil, corruptBatch(b, fmt.Sprintf("CRC32C is %08x, should be %08x", got, want))
	}
	return b, rest, nil
}

// PeekBatch reads the header of the batch at the start of buf without checking
// its checksum: for bytes that were checked when they came in.
func PeekBatch(buf []byte) (b pinetree.Batch, rest []byte, err error) {
	b, size, err := PeekHeader(buf)
	if err != nil {
		return b, nil, err
	}
	if size > len(buf) {
		return b, nil, corruptBatch(b, fmt.Sprintf("length %d, %d bytes are there", size, len(buf)))
	}
	b.Encoded = buf[:size:size]
	return b, buf[size:], nil
}

// PeekHeader reads the header of the batch at the start of buf, of which no
// more than BatchHeaderBytes need to be there, and tells the batch's size in
// bytes. The batch has no Encoded, and no checksum was checked.
func PeekHeader(buf []byte) (b pinetree.Batch, size int, err error) {
	le := binary.LittleEndian
	if len(buf) < BatchHeaderBytes {
		return b, 0, corruptBatch(b, fmt.Sprintf("%d bytes, less than a header", len(buf)))
	}
	if buf[4] != batchVersion && buf[4] != compressedVersion {
		return b, 0, corruptBatch(b, fmt.Sprintf("version %d, this build reads %d and %d", buf[4], batchVersion, compressedVersion))
	}
	b = pinetree.Batch{
		Volume: pinetree.VolumeID(le.Uint64(buf[8:])),
		Term:   pinetree.ComputeTerm(le.Uint64(buf[16:])),
		Prev:   pinetree.LSN(le.Uint64(buf[24:])),
		LSN:    pinetree.LSN(le.Uint64(buf[32:])),
		Count:  int(le.Uint32(buf[40:])),
	}
	size = BatchHeaderBytes + int(le.Uint32(buf[44:]))
	if size > MaxBatchBytes {
		return b, 0, corruptBatch(b, fmt.Sprintf("length %d, the limit is %d", size, MaxBatchBytes))
	}
	if b.Count == 0 || b.LSN <= b.Prev {
		return b, 0, corruptBatch(b, "no records, or they do not rise")
	}
	return b, size, nil
}

// Records calls fn for each record of a decoded batch, in order, until fn
// returns an error, which it passes on. The payloads share the batch's memory, or each
// other's if the batch is compressed.
func Records(b pinetree.Batch, fn func(pinetree.Record) error) error {
	body, err := plainBody(b)
	if err != nil {
		return err
	}
	prev := b.Prev
	for i := range b.Count {
		step, n := binary.Uvarint(body)
		if n <= 0 || step == 0 || step > uint64(b.LSN-prev) {
			return corruptBatch(b, fmt.Sprintf("record %d: bad LSN step", i))
		}
		body = body[n:]
		length, n := binary.Uvarint(body)
		if n <= 0 || length > uint64(len(body)-n) {
			return corruptBatch(b, fmt.Sprintf("record %d: bad length", i))
		}
		body = body[n:]
		lsn := prev + pinetree.LSN(step)
		if err := fn(pinetree.Record{Prev: prev, LSN: lsn, Payload: body[:length:length]}); err != nil {
			return err
		}
		prev, body = lsn, body[length:]
	}
	if len(body) != 0 || prev != b.LSN {
		return corruptBatch(b, "records do not end where the header says")
	}
	return nil
}

func corruptBatch(b pinetree.Batch, what string) error {
	return &pinetree.CorruptError{
		Where: fmt.Sprintf("batch (%s, %s] of volume %d, compute term %d", b.Prev, b.LSN, b.Volume, b.Term),
		What:  what,
	}
}
