package storepb_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// drawRecords draws a run of neighbouring records, empty payloads and LSN
// jumps included.
func drawRecords(t *rapid.T) []pinetree.Record {
	prev := pinetree.LSN(rapid.Uint64Range(0, 1<<62).Draw(t, "prev"))
	records := make([]pinetree.Record, rapid.IntRange(1, 20).Draw(t, "count"))
	for i := range records {
		step := rapid.OneOf(rapid.Uint64Range(1, 300), rapid.Uint64Range(1, 1<<50)).Draw(t, "step")
		payload := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "payload")
		records[i] = pinetree.Record{Prev: prev, LSN: prev + pinetree.LSN(step), Payload: payload}
		prev = records[i].LSN
	}
	return records
}

func readRecords(b pinetree.Batch) ([]pinetree.Record, error) {
	var records []pinetree.Record
	err := storepb.Records(b, func(r pinetree.Record) error {
		records = append(records, r)
		return nil
	})
	return records, err
}

func mustEncode(t testing.TB, volume pinetree.VolumeID, records ...pinetree.Record) pinetree.Batch {
	t.Helper()
	b, err := storepb.EncodeBatch(volume, 3, records)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wantCorrupt(t testing.TB, err error, during string) {
	t.Helper()
	var corrupt *pinetree.CorruptError
	if !errors.As(err, &corrupt) {
		t.Fatalf("%s: %v, want a CorruptError", during, err)
	}
	if corrupt.Where == "" || corrupt.What == "" {
		t.Fatalf("%s: the error does not say where and what: %+v", during, corrupt)
	}
}

func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		volume := pinetree.VolumeID(rapid.Uint64().Draw(t, "volume"))
		term := pinetree.ComputeTerm(rapid.Uint64().Draw(t, "term"))
		records := drawRecords(t)
		made, err := storepb.EncodeBatch(volume, term, records)
		if err != nil {
			t.Fatal(err)
		}
		tail := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "tail")
		read, rest, err := storepb.DecodeBatch(append(bytes.Clone(made.Encoded), tail...))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(made, read); diff != "" {
			t.Fatalf("the batch read differs from the one made:\n%s", diff)
		}
		if !bytes.Equal(rest, tail) {
			t.Fatalf("%d bytes follow the batch, want %d", len(rest), len(tail))
		}
		last := records[len(records)-1]
		if made.Volume != volume || made.Term != term || made.Prev != records[0].Prev || made.LSN != last.LSN || made.Count != len(records) {
			t.Fatalf("the header fields are wrong: %+v", made)
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

// TestEveryFlippedBitOfABatchIsRefused guards promise 9 at its smallest: no
// single bit can change, the checksum's own included, and be believed.
func TestEveryFlippedBitOfABatchIsRefused(t *testing.T) {
	b := mustEncode(
		t, 5,
		pinetree.Record{Prev: 100, LSN: 140, Payload: []byte("first")},
		pinetree.Record{Prev: 140, LSN: 141},
		pinetree.Record{Prev: 141, LSN: 1 << 40, Payload: bytes.Repeat([]byte{0xA5}, 300)},
	)
	// What follows the batch makes a length field that grew point at bytes
	// that are there.
	for _, tail := range [][]byte{nil, bytes.Repeat(b.Encoded, 4)} {
		buf := append(bytes.Clone(b.Encoded), tail...)
		for bit := range len(b.Encoded) * 8 {
			buf[bit/8] ^= 1 << (bit % 8)
			_, rest, err := storepb.DecodeBatch(buf)
			if err == nil {
				t.Fatalf("bit %d of byte %d was flipped and the batch was believed", bit%8, bit/8)
			}
			wantCorrupt(t, err, "flipped bit")
			if rest != nil {
				t.Fatalf("bit %d of byte %d: a refused batch has a rest", bit%8, bit/8)
			}
			buf[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestEveryCutOfABatchIsRefused(t *testing.T) {
	b := mustEncode(t, 5, pinetree.Record{Prev: 1, LSN: 9, Payload: []byte("payload")})
	for size := range len(b.Encoded) {
		if _, _, err := storepb.DecodeBatch(b.Encoded[:size]); err == nil {
			t.Fatalf("%d of %d bytes were believed", size, len(b.Encoded))
		}
	}
}

func TestEncodeBatchRefusesWhatIsNoRun(t *testing.T) {
	record := func(prev, lsn pinetree.LSN) pinetree.Record { return pinetree.Record{Prev: prev, LSN: lsn} }
	for name, records := range map[string][]pinetree.Record{
		"no records":          nil,
		"does not rise":       {record(5, 5)},
		"falls":               {record(5, 4)},
		"a hole":              {record(0, 5), record(6, 7)},
		"an overlap":          {record(0, 5), record(4, 7)},
		"the same twice":      {record(0, 5), record(0, 5)},
		"second does not":     {record(0, 5), record(5, 5)},
		"larger than allowed": {{Prev: 0, LSN: 1, Payload: make([]byte, storepb.MaxBatchBytes)}},
	} {
		b, err := storepb.EncodeBatch(1, 1, records)
		if !errors.Is(err, pinetree.ErrBadBatch) {
			t.Errorf("%s: %v, want ErrBadBatch", name, err)
		}
		if b.Encoded != nil {
			t.Errorf("%s: a refused batch has bytes", name)
		}
	}
}

func TestLargestBatchIsExactlyTheLimit(t *testing.T) {
	// 48 bytes of header, 1 of LSN step, 4 of length.
	fits := storepb.MaxBatchBytes - 48 - 1 - 4
	b := mustEncode(t, 1, pinetree.Record{LSN: 1, Payload: make([]byte, fits)})
	if b.Size() != storepb.MaxBatchBytes {
		t.Fatalf("%d bytes encoded, want %d", b.Size(), storepb.MaxBatchBytes)
	}
	if _, _, err := storepb.DecodeBatch(b.Encoded); err != nil {
		t.Fatal(err)
	}
	_, err := storepb.EncodeBatch(1, 1, []pinetree.Record{{LSN: 1, Payload: make([]byte, fits+1)}})
	if !errors.Is(err, pinetree.ErrBadBatch) {
		t.Fatalf("one byte more: %v, want ErrBadBatch", err)
	}
}

func TestEncodeBatchCopiesThePayloads(t *testing.T) {
	payload := []byte("abc")
	b := mustEncode(t, 1, pinetree.Record{LSN: 1, Payload: payload})
	payload[0] = 'X'
	if _, _, err := storepb.DecodeBatch(b.Encoded); err != nil {
		t.Fatalf("writing to the caller's payload changed the batch: %v", err)
	}
}

func TestGrowingADecodedBatchCannotWriteIntoItsNeighbour(t *testing.T) {
	one := mustEncode(t, 1, pinetree.Record{LSN: 1, Payload: []byte("one")}, pinetree.Record{Prev: 1, LSN: 2})
	two := mustEncode(t, 2, pinetree.Record{LSN: 1, Payload: []byte("two")})
	buf := append(bytes.Clone(one.Encoded), two.Encoded...)
	b, rest, err := storepb.DecodeBatch(buf)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(b.Encoded, 0xFF)
	if err := storepb.Records(b, func(r pinetree.Record) error {
		_ = append(r.Payload, 0x7F)
		return nil
	}); err != nil {
		t.Fatalf("an append wrote into the next record: %v", err)
	}
	if _, _, err := storepb.DecodeBatch(rest); err != nil {
		t.Fatalf("an append wrote into the next batch: %v", err)
	}
}

func TestRecordsPassesOnTheErrorOfItsCaller(t *testing.T) {
	b := mustEncode(t, 1, pinetree.Record{LSN: 1}, pinetree.Record{Prev: 1, LSN: 2}, pinetree.Record{Prev: 2, LSN: 3})
	stop := errors.New("enough")
	calls := 0
	err := storepb.Records(b, func(pinetree.Record) error {
		calls++
		if calls == 2 {
			return stop
		}
		return nil
	})
	if err != stop || calls != 2 {
		t.Fatalf("%v after %d calls, want the caller's error after 2", err, calls)
	}
}

// sealed writes a batch by hand around a body, checksum included: what a
// broken writer would send.
func sealed(prev, lsn pinetree.LSN, count uint32, body []byte) []byte {
	le := binary.LittleEndian
	buf := make([]byte, 48, 48+len(body))
	buf[4] = 1
	le.PutUint64(buf[8:], 1)
	le.PutUint64(buf[16:], 1)
	le.PutUint64(buf[24:], uint64(prev))
	le.PutUint64(buf[32:], uint64(lsn))
	le.PutUint32(buf[40:], count)
	le.PutUint32(buf[44:], uint32(len(body)))
	buf = append(buf, body...)
	le.PutUint32(buf, crc32.Checksum(buf[4:], storepb.Castagnoli))
	return buf
}

func TestRecordsRefusesABodyThatItsChecksumCovers(t *testing.T) {
	back := binary.AppendUvarint(nil, 1<<64-3) // a step that wraps around
	for name, c := range map[string]struct {
		count uint32
		body  []byte
	}{
		"empty body":               {1, nil},
		"step without end":         {1, []byte{0x80}},
		"step of zero":             {1, []byte{0, 0}},
		"no length":                {1, []byte{10}},
		"length beyond the end":    {1, []byte{10, 3, 'a', 'b'}},
		"length without end":       {1, []byte{10, 0xFF}},
		"bytes after the last":     {1, []byte{10, 0, 0}},
		"ends below the header":    {1, []byte{9, 0}},
		"ends above the header":    {1, []byte{11, 0}},
		"fewer than the count":     {2, []byte{10, 0}},
		"more than the count":      {1, []byte{4, 0, 6, 0}},
		"wraps around and returns": {2, append(append([]byte{13, 0}, back...), 0)},
		"count beyond all bytes":   {1<<32 - 1, []byte{10, 0}},
	} {
		b, _, err := storepb.DecodeBatch(sealed(5, 15, c.count, c.body))
		if err != nil {
			t.Fatalf("%s: the header and checksum are right, yet: %v", name, err)
		}
		prev := b.Prev
		err = storepb.Records(b, func(r pinetree.Record) error {
			if r.Prev != prev || r.LSN <= r.Prev || r.LSN > b.LSN {
				t.Errorf("%s: record (%s, %s] was given out of the batch (%s, %s]", name, r.Prev, r.LSN, b.Prev, b.LSN)
			}
			prev = r.LSN
			return nil
		})
		wantCorrupt(t, err, name)
	}
}

func TestHeaderThatMakesNoSenseIsRefused(t *testing.T) {
	for name, buf := range map[string][]byte{
		"no records":    sealed(5, 15, 0, nil),
		"does not rise": sealed(15, 15, 1, []byte{1, 0}),
		"falls":         sealed(16, 15, 1, []byte{1, 0}),
		"over the limit": func() []byte {
			return sealed(5, 15, 1, make([]byte, storepb.MaxBatchBytes-47))
		}(),
	} {
		_, _, err := storepb.DecodeBatch(buf)
		wantCorrupt(t, err, name)
	}
}

func TestBatchOfALaterVersionIsRefusedAsSuch(t *testing.T) {
	buf := sealed(5, 15, 1, []byte{10, 0})
	buf[4] = 3
	binary.LittleEndian.PutUint32(buf, crc32.Checksum(buf[4:], storepb.Castagnoli))
	_, _, err := storepb.DecodeBatch(buf)
	wantCorrupt(t, err, "version 3")
	if !strings.Contains(err.Error(), "version 3") {
		t.Fatalf("%v does not name the version", err)
	}
}
