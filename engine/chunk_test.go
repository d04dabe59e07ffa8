package engine_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

var stream = engine.ChunkStream{Backend: "fuzzed", Index: 300, Term: 2}

// chunked cuts data into the chunks of stream, with a cut of one's own after
// the first byte.
func chunked(t testing.TB, data []byte) (chunks [][]byte) {
	t.Helper()
	w := engine.NewChunkWriter(stream, func(chunk []byte) error {
		chunks = append(chunks, bytes.Clone(chunk))
		clear(chunk)
		return nil
	})
	head := min(1, len(data))
	if _, err := w.Write(data[:head]); err != nil {
		t.Fatal(err)
	}
	if err := w.Cut(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data[head:]); err != nil {
		t.Fatal(err)
	}
	if err := w.End(); err != nil {
		t.Fatal(err)
	}
	return chunks
}

func TestChunksJoinedAreWhatWasWritten(t *testing.T) {
	for _, size := range []int{0, 1, 2, engine.MaxChunkBodyBytes, engine.MaxChunkBytes, 3*engine.MaxChunkBytes + 7} {
		data := bytes.Repeat([]byte{1, 2, 3, 5, 7, 11, 13}, size/7+1)[:size]
		r := engine.NewChunkReader(stream)
		var joined []byte
		for _, chunk := range chunked(t, data) {
			if r.Check() == nil {
				t.Fatalf("%d bytes: whole before the last chunk", size)
			}
			if len(chunk) > engine.MaxChunkBytes {
				t.Fatalf("%d bytes: a chunk has %d, the limit is %d", size, len(chunk), engine.MaxChunkBytes)
			}
			body, err := r.Open(chunk)
			if err != nil {
				t.Fatal(err)
			}
			joined = append(joined, body...)
		}
		if err := r.Check(); err != nil || !bytes.Equal(joined, data) {
			t.Fatalf("%d bytes: %d came back, %v", size, len(joined), err)
		}
	}
}

func TestTheErrorOfTheOneWhoTakesChunksIsPassedOn(t *testing.T) {
	stop := errors.New("enough")
	w := engine.NewChunkWriter(stream, func([]byte) error { return stop })
	if n, err := w.Write(make([]byte, 2*engine.MaxChunkBytes)); !errors.Is(err, stop) || n >= engine.MaxChunkBytes {
		t.Fatalf("write: %d bytes, %v", n, err)
	}
	if err := w.End(); !errors.Is(err, stop) {
		t.Fatalf("end: %v", err)
	}
}

// FuzzChunk also seals each input with a right checksum, so that the code
// behind the checksum is reached.
func FuzzChunk(f *testing.F) {
	for _, chunk := range chunked(f, []byte("the body")) {
		f.Add(chunk)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		openChunk(t, data)
		if len(data) >= 4 {
			data = bytes.Clone(data)
			binary.LittleEndian.PutUint32(data, crc32.Checksum(data[4:], storepb.Castagnoli))
			openChunk(t, data)
		}
	})
}

// openChunk holds a chunk that is believed to be the first one to what the
// writer would have made of its body.
func openChunk(t *testing.T, data []byte) {
	t.Helper()
	r := engine.NewChunkReader(stream)
	body, err := r.Open(data)
	if err != nil {
		if errors.Is(err, pinetree.ErrCorrupt) && len(err.Error()) == 0 {
			t.Fatal("an error without words")
		}
		if r.Check() == nil {
			t.Fatal("whole after a chunk that was refused")
		}
		return
	}
	var again []byte
	w := engine.NewChunkWriter(stream, func(chunk []byte) error { again = bytes.Clone(chunk); return nil })
	if len(body) > w.Free() {
		t.Fatalf("a body of %d bytes was believed, a chunk has room for %d", len(body), w.Free())
	}
	_, err = w.Write(body)
	if err == nil && r.Check() == nil {
		err = w.End()
	} else if err == nil {
		err = w.Cut()
	}
	if err != nil || !bytes.Equal(again, data) {
		t.Fatalf("believed %x, the writer makes %x, %v", data, again, err)
	}
}
