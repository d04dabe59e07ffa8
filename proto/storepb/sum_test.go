package storepb

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
)

// payload makes the payload of an entry with a batch of each of these sizes.
func payload(t *testing.T, random *rand.Rand, sizes ...int) []byte {
	t.Helper()
	var batches []pinetree.Batch
	at := pinetree.LSN(1)
	for _, size := range sizes {
		content := make([]byte, size)
		for i := range content {
			content[i] = byte(random.Uint32())
		}
		b, err := EncodeBatch(7, 3, []pinetree.Record{{Prev: at, LSN: at + 9, Payload: content}})
		if err != nil {
			t.Fatal(err)
		}
		batches, at = append(batches, b), at+9
	}
	return EncodeBatches(batches)
}

func entry(data []byte) *raftpb.Entry { return &raftpb.Entry{Data: data} }

func TestSumsAreThoseOfTheData(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var entries []*raftpb.Entry
	for range 200 {
		var sizes []int
		for range 1 + random.IntN(4) {
			sizes = append(sizes, random.IntN(4*combineBytes))
		}
		entries = append(entries, entry(payload(t, random, sizes...)))
	}
	large := payload(t, random, 3*combineBytes, 5, combineBytes)
	entries = append(entries, entry(nil), entry([]byte{commandControl, 8}), entry(large),
		entry(append(large[:len(large):len(large)], 1)), // what follows is no batch
		entry(append([]byte{commandControl}, large[1:]...)), entry(large[1:]), entry(large[:len(large)-1]))
	sums := Sums(entries)
	for i, e := range entries {
		if want := crc32.Checksum(e.Data, Castagnoli); sums[i] != want {
			t.Errorf("entry %d of %d bytes: %08x, its CRC32C is %08x", i, len(e.Data), sums[i], want)
		}
	}
	if sums := Sums(entries[200:202]); sums != nil {
		t.Errorf("small entries: %x, none are worth it", sums)
	}
}

func TestACombinedSumShowsWhatBecameOfABatch(t *testing.T) {
	data := payload(t, rand.New(rand.NewPCG(3, 4)), 2*combineBytes)
	right := sumCommand(data)
	data[len(data)/2] ^= 4
	if sum := sumCommand(data); sum != right || sum == crc32.Checksum(data, Castagnoli) {
		t.Errorf("the sum is %08x, of the data as it was %08x: who reads the entry would not find out", sum, right)
	}
}

func TestCheckEntriesFindsEachFlippedBit(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	data := payload(t, random, 40, 60)
	conf := raftpb.EntryConfChange
	entries := []*raftpb.Entry{entry(nil), {Type: &conf, Data: []byte{commandBatches, 2}}, entry([]byte{commandControl, 1}), entry(data)}
	if err := CheckEntries(entries); err != nil {
		t.Fatal(err)
	}
	for bit := 8; bit < 8*len(data); bit++ {
		data[bit/8] ^= 1 << (bit % 8)
		if err := CheckEntries(entries); !errors.Is(err, pinetree.ErrCorrupt) {
			t.Errorf("bit %d: %v, want ErrCorrupt", bit, err)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
}

func BenchmarkSums(b *testing.B) {
	entries := []*raftpb.Entry{entry(make([]byte, 1, 1<<20))}
	batch, err := EncodeBatch(1, 1, []pinetree.Record{{LSN: 1, Payload: make([]byte, 256<<10)}})
	if err != nil {
		b.Fatal(err)
	}
	entries[0].Data = EncodeBatches([]pinetree.Batch{batch, batch, batch, batch})
	b.SetBytes(int64(len(entries[0].Data)))
	for b.Loop() {
		Sums(entries)
	}
}

func TestChecksumIsCRC32C(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	memory := make([]byte, 3*4096+200)
	for i := range memory {
		memory[i] = byte(random.Uint32())
	}
	for n := range len(memory) {
		from := random.IntN(len(memory) - n)
		if got, want := checksum(memory[from:from+n]), crc32.Checksum(memory[from:from+n], Castagnoli); got != want {
			t.Fatalf("%d bytes from %d: %08x, their CRC32C is %08x", n, from, got, want)
		}
	}
}

// Napkin: a core reads 10 to 20 GB/s of memory in order, and computes some 20 GB/s
// of CRC32C from its caches: 7 to 10 GB/s for one after the other.
func BenchmarkChecksum(b *testing.B) {
	memory := make([]byte, 256<<20) // more than caches hold
	for i := range memory {
		memory[i] = byte(i)
	}
	for name, sum := range map[string]func([]byte) uint32{
		"fetched": checksum,
		"plain":   func(b []byte) uint32 { return crc32.Checksum(b, Castagnoli) },
	} {
		for _, batch := range []int{1 << 10, 256 << 10} {
			b.Run(fmt.Sprintf("%s/cold/%d", name, batch), func(b *testing.B) {
				b.SetBytes(int64(batch))
				for at := 0; b.Loop(); at = (at + batch) % len(memory) {
					sum(memory[at : at+batch])
				}
			})
			b.Run(fmt.Sprintf("%s/cached/%d", name, batch), func(b *testing.B) {
				b.SetBytes(int64(batch))
				for b.Loop() {
					sum(memory[:batch])
				}
			})
		}
	}
}
