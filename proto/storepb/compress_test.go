package storepb_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/s2"
	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// words is a payload that becomes smaller.
func words(n int) []byte { return bytes.Repeat([]byte("redo of a page "), n/15+1)[:n] }

func noise(n int) []byte {
	random := rand.NewChaCha8([32]byte{1})
	data := make([]byte, n)
	_, _ = random.Read(data) // never fails
	return data
}

func compressed(t testing.TB, records ...pinetree.Record) (plain, small pinetree.Batch) {
	t.Helper()
	var c storepb.Compressor
	plain = mustEncode(t, 5, records...)
	small = c.Compress(plain)
	if small.Size() >= plain.Size() {
		t.Fatalf("%d bytes became %d", plain.Size(), small.Size())
	}
	return plain, small
}

func TestCompressedBatchRoundTrip(t *testing.T) {
	var c storepb.Compressor
	rapid.Check(t, func(t *rapid.T) {
		records := drawRecords(t)
		for i := range records {
			if rapid.Bool().Draw(t, "words") {
				records[i].Payload = words(rapid.IntRange(0, 3000).Draw(t, "size"))
			}
		}
		plain, err := storepb.EncodeBatch(7, 9, records)
		if err != nil {
			t.Fatal(err)
		}
		before := bytes.Clone(plain.Encoded)
		small := c.Compress(plain)
		if storepb.PlainSize(plain) != plain.Size() || storepb.PlainSize(small) != plain.Size() {
			t.Fatalf("%d bytes were %d and %d before", plain.Size(), storepb.PlainSize(plain), storepb.PlainSize(small))
		}
		if !bytes.Equal(before, plain.Encoded) || small.Size() > plain.Size() {
			t.Fatalf("%d bytes became %d, or were changed", plain.Size(), small.Size())
		}
		read, rest, err := storepb.DecodeBatch(append(bytes.Clone(small.Encoded), 1))
		if err != nil || len(rest) != 1 {
			t.Fatalf("%d bytes follow the batch, %v", len(rest), err)
		}
		if diff := cmp.Diff(small, read); diff != "" {
			t.Fatalf("the batch read differs from the one made:\n%s", diff)
		}
		if diff := cmp.Diff(plain, small, cmpopts.IgnoreFields(pinetree.Batch{}, "Encoded")); diff != "" {
			t.Fatalf("the headers differ:\n%s", diff)
		}
		got, err := readRecords(read)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(records, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("the records differ:\n%s", diff)
		}
	})
}

func TestOnlyWhatBecomesSmallerIsCompressed(t *testing.T) {
	var c storepb.Compressor
	kept := func(payload []byte) bool {
		b := mustEncode(t, 5, pinetree.Record{Prev: 1, LSN: 9, Payload: payload})
		return c.Compress(b).Size() == b.Size()
	}
	if kept(words(1000)) || !kept(words(200)) || !kept(noise(1000)) || kept(words(1000)) {
		t.Error("want what is long and repeats itself compressed, and what is short or noise left alone")
	}
	_, small := compressed(t, pinetree.Record{Prev: 1, LSN: 9, Payload: words(5000)})
	if again := c.Compress(small); !bytes.Equal(again.Encoded, small.Encoded) {
		t.Error("a compressed batch was compressed")
	}
}

func TestLargestBatchIsCompressed(t *testing.T) {
	const most = storepb.MaxBatchBytes - storepb.BatchHeaderBytes - 5
	for _, payload := range [][]byte{words(most), make([]byte, most)} {
		plain, small := compressed(t, pinetree.Record{Prev: 1, LSN: 9, Payload: payload})
		if plain.Size() != storepb.MaxBatchBytes {
			t.Fatalf("%d bytes, want %d", plain.Size(), storepb.MaxBatchBytes)
		}
		got, err := readRecords(small)
		if err != nil || !bytes.Equal(got[0].Payload, payload) {
			t.Fatalf("the payload differs, %v", err)
		}
		// A node holds what it decompresses in memory: no short batch may become long.
		if small.Size() < plain.Size()/32 {
			t.Errorf("%d bytes became %d", plain.Size(), small.Size())
		}
	}
}

func TestEveryFlippedBitOfACompressedBatchIsRefused(t *testing.T) {
	plain, small := compressed(t,
		pinetree.Record{Prev: 100, LSN: 140, Payload: words(600)},
		pinetree.Record{Prev: 140, LSN: 141},
		pinetree.Record{Prev: 141, LSN: 1 << 40, Payload: noise(100)},
	)
	want, err := readRecords(plain)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(small.Encoded) * 8 {
		buf := bytes.Clone(small.Encoded)
		buf[bit/8] ^= 1 << (bit % 8)
		_, _, err := storepb.DecodeBatch(buf)
		wantCorrupt(t, err, fmt.Sprintf("bit %d", bit))
		// With a checksum that covers it, the structure is all that tells.
		binary.LittleEndian.PutUint32(buf, crc32.Checksum(buf[4:], storepb.Castagnoli))
		b, _, err := storepb.DecodeBatch(buf)
		if err != nil {
			wantCorrupt(t, err, fmt.Sprintf("bit %d, sealed", bit))
			continue
		}
		got, err := readRecords(b)
		if err != nil {
			wantCorrupt(t, err, fmt.Sprintf("records, bit %d", bit))
			continue
		}
		if inHeader := bit/8 < storepb.BatchHeaderBytes; cmp.Equal(got, want) && !inHeader && bit/8 >= 4 {
			t.Errorf("bit %d of byte %d is of no meaning", bit%8, bit/8)
		}
	}
}

func TestCompressedBodyThatLiesIsRefused(t *testing.T) {
	body := append([]byte{10, 100}, make([]byte, 100)...)
	block := s2.EncodeSnappy(nil, body)
	huge := s2.EncodeSnappy(nil, append([]byte{10, 0xC8, 0xFF, 0xFF, 0x03}, make([]byte, storepb.MaxBatchBytes)...))
	for name, c := range map[string]struct {
		length int
		body   []byte
	}{
		"right":                  {len(body), block},
		"says less":              {len(body) - 1, block},
		"says more":              {len(body) + 1, block},
		"empty":                  {0, nil},
		"not compressed":         {len(body), body},
		"cut":                    {len(body), block[:len(block)-1]},
		"more behind":            {len(body), append(bytes.Clone(block), 0)},
		"more than a batch":      {storepb.MaxBatchBytes + 5, huge},
		"length without end":     {len(body), []byte{0x80, 0x80}},
		"length of many batches": {1<<24 - 1, binary.AppendUvarint(nil, 1<<24-1)},
	} {
		buf := sealed(5, 15, 1, c.body)
		binary.LittleEndian.PutUint32(buf[4:], uint32(c.length)<<8|2)
		binary.LittleEndian.PutUint32(buf, crc32.Checksum(buf[4:], storepb.Castagnoli))
		b, _, err := storepb.DecodeBatch(buf)
		if err != nil {
			t.Fatalf("%s: the header and checksum are right, yet: %v", name, err)
		}
		if _, err = readRecords(b); name == "right" {
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		wantCorrupt(t, err, name)
	}
}

// TestStoredCompressedBatchStaysReadable has no look at how it is written: another
// version of the compressor may do so in other bytes.
func TestStoredCompressedBatchStaysReadable(t *testing.T) {
	stored, err := hex.DecodeString("fabee0d8023801000500000000000000030000000000000040376b01000000000000000001000000020000002e000000b8024438ac027265646f206f662061207061676520ee0f00ee0f00ee0f00ee0f00b20f00208891d3f40f03656e64")
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := storepb.DecodeBatch(stored)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readRecords(b)
	if err != nil {
		t.Fatal(err)
	}
	want := []pinetree.Record{{Prev: 0x16B3740, LSN: 0x16B3778, Payload: words(300)}, {Prev: 0x16B3778, LSN: 0x100000000, Payload: []byte("end")}}
	if diff := cmp.Diff(want, got); diff != "" || b.Volume != 5 || b.Term != 3 {
		t.Errorf("volume %d, term %d, %s", b.Volume, b.Term, diff)
	}
}

func BenchmarkCompress(b *testing.B) {
	for name, payload := range map[string][]byte{"words": words(128 << 10), "noise": noise(128 << 10)} {
		b.Run(name, func(b *testing.B) {
			plain := mustEncode(b, 5, pinetree.Record{Prev: 1, LSN: 9, Payload: payload})
			b.SetBytes(int64(plain.Size()))
			var c storepb.Compressor
			for b.Loop() {
				c.Compress(plain)
			}
		})
	}
}
