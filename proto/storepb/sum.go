package storepb

import (
	"encoding/binary"
	"hash/crc32"

	"go.etcd.io/raft/v3/raftpb"
)

// combineBytes is the size from which it is quicker to take a batch's checksum at
// its word than to read the batch once more: what came in a while ago is no longer
// in the processor's caches.
const combineBytes = 8 << 10

// Sums are the CRC32C of each entry's data, or nil when none has large batches, so
// that nothing is gained. Large batches are not read for it: that their own
// checksums are right was seen when they came in. Should memory have failed since,
// the sum is that of the data as it was, and who reads the entry finds out.
func Sums(entries []*raftpb.Entry) []uint32 {
	for _, e := range entries {
		if len(e.Data) > combineBytes {
			sums := make([]uint32, len(entries))
			for i, e := range entries {
				sums[i] = sumCommand(e.Data)
			}
			return sums
		}
	}
	return nil
}

// sumCommand is the CRC32C of a raft entry's payload, whatever it is.
func sumCommand(data []byte) uint32 {
	if len(data) <= combineBytes || data[0] != commandBatches {
		return crc32.Checksum(data, Castagnoli)
	}
	sum := crc32.Checksum(data[:1], Castagnoli)
	for rest := data[1:]; len(rest) > 0; {
		b, after, err := PeekBatch(rest)
		if err != nil {
			return crc32.Checksum(data, Castagnoli)
		}
		if len(b.Encoded) < combineBytes {
			sum = crc32.Update(sum, Castagnoli, b.Encoded)
		} else {
			before := crc32.Update(sum, Castagnoli, b.Encoded[:4])
			sum = uint32(polynomial(before).shift(len(b.Encoded)-4)) ^ binary.LittleEndian.Uint32(b.Encoded)
		}
		rest = after
	}
	return sum
}

// checksum is the CRC32C of what may have left the processor's caches since it came
// in. That of the standard library goes through three parts of 1344 bytes side by
// side, which is more than the processor can foresee: it waits for memory most of
// the time, unless a page was gone through in order before (BenchmarkChecksum).
func checksum(b []byte) (sum uint32) {
	for len(b) > 0 {
		page := b[:min(len(b), 4<<10)]
		fetch(page)
		sum = crc32.Update(sum, Castagnoli, page)
		b = b[len(page):]
	}
	return sum
}

// fetch reads a byte of every line of the caches, which brings all of them there.
//
//go:noinline
func fetch(page []byte) (sum byte) {
	for i := 0; i < len(page); i += 64 {
		sum += page[i]
	}
	return sum
}

// polynomial is one over GF(2), modulo that of CRC32C, its highest bit that of x^0.
// The checksum of two pieces is that of the first, shifted by the length of the
// second, plus that of the second: Mark Adler's crc32_combine in zlib.
type polynomial uint32

// shift multiplies by x^8n: as many bytes follow.
func (p polynomial) shift(bytes int) polynomial {
	for power := 3; bytes > 0; bytes, power = bytes>>1, power+1 {
		if bytes&1 != 0 {
			p = p.times(powers[power])
		}
	}
	return p
}

// powers are x^2^i, enough to shift by 2^28 bytes.
var powers = func() (p [32]polynomial) {
	p[0] = 1 << 30
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1].times(p[i-1])
	}
	return p
}()

func (p polynomial) times(other polynomial) (product polynomial) {
	for ; p != 0; p <<= 1 {
		if p>>31 != 0 {
			product ^= other
		}
		other = other>>1 ^ crc32.Castagnoli&-(other&1)
	}
	return product
}

// CheckEntries checks the checksums of the batches that raft entries carry. The
// first that is wrong is a *pinetree.CorruptError.
func CheckEntries(entries []*raftpb.Entry) error {
	for _, e := range entries {
		if e.GetType() != raftpb.EntryNormal || len(e.Data) == 0 || e.Data[0] != commandBatches {
			continue
		}
		for rest := e.Data[1:]; len(rest) > 0; {
			var err error
			if _, rest, err = DecodeBatch(rest); err != nil {
				return err
			}
		}
	}
	return nil
}
