package frames_test

import (
	"bytes"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/walengine/files"
	"github.com/pinetree-db/pinetree/engine/walengine/frames"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// sample is the bytes of a frame with one batch.
func sample(t testing.TB) []byte {
	b, err := storepb.EncodeBatch(1, 1, []pinetree.Record{{Prev: 0, LSN: 5, Payload: []byte("payload")}})
	if err != nil {
		t.Fatal(err)
	}
	head, err := storepb.EncodePosition(pinetree.Position{Index: 7, Term: 2, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: {LSN: 5}}})
	if err != nil {
		t.Fatal(err)
	}
	h := frames.Header{Kind: frames.Apply, Head: len(head), Body: len(b.Encoded), Batches: 1}
	data := append(make([]byte, frames.HeaderBytes), head...)
	frames.Seal(data, frames.Place{Bound: 1}, h)
	return append(append(data, b.Encoded...), h.Tail()...)
}

func walker(data []byte) *frames.Walker {
	return &frames.Walker{Window: files.Window{File: bytes.NewReader(data), Limit: int64(len(data))}, Bound: 1}
}

// FuzzFrame reads anything as a frame. What is found good is within the data
// and gives the same bytes when it is copied; any other byte in it is found.
func FuzzFrame(f *testing.F) {
	f.Add(sample(f))
	f.Add([]byte{})
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, data []byte) {
		w := walker(data)
		n, wrong, err := w.Frame(0)
		if err != nil {
			t.Fatal(err)
		}
		frames.Torn(data, frames.Place{Bound: 1}, frames.FileHeaderBytes)
		if wrong != "" {
			return
		}
		if n.Size() > int64(len(data)) || n.Size()%frames.Align != 0 {
			t.Fatalf("a frame of %d bytes in %d", n.Size(), len(data))
		}
		if _, _, _, err := w.Position(n); err != nil {
			t.Fatal(err)
		}
		if _, wrong, err := w.Check(n, nil); err != nil || wrong != "" {
			return
		}
		var copied bytes.Buffer
		if err := w.Copy(n, &copied); err != nil || !bytes.Equal(copied.Bytes(), data[:n.Size()]) {
			t.Fatalf("copied %d bytes, %v", copied.Len(), err)
		}
	})
}

// FuzzReadFile reads anything as a file's header. One that is good is the one
// that would be written.
func FuzzReadFile(f *testing.F) {
	f.Add(frames.File{Group: 1, Bound: 2, Generation: 3, Base: 4096}.Header())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, wrong := frames.ReadFile(data); wrong == "" && !bytes.HasPrefix(data, got.Header()) {
			t.Fatalf("%+v was read from %x", got, data[:frames.FileHeaderBytes])
		}
	})
}

// TestTornIsToldFromWrong cuts the frame, zeroes a part of it, and changes it.
func TestTornIsToldFromWrong(t *testing.T) {
	data, at := sample(t), frames.Place{Bound: 1}
	for n := range data {
		if !frames.Torn(data[:n], at, 0) {
			t.Fatalf("the first %d bytes are not taken for torn", n)
		}
	}
	if !frames.Torn(make([]byte, 100), at, 0) {
		t.Fatal("zeroes are not taken for torn")
	}
	for i := range data[:len(data)-1] {
		changed := bytes.Clone(data)
		changed[i] ^= 4
		w := walker(changed)
		n, wrong, err := w.Frame(0)
		if err != nil {
			t.Fatal(err)
		}
		if wrong == "" {
			_, _, wrong, err = w.Position(n)
		}
		if wrong == "" && err == nil {
			_, wrong, err = w.Check(n, nil)
		}
		if err != nil || wrong == "" {
			t.Fatalf("byte %d changed: %q, %v", i, wrong, err)
		}
		if frames.Torn(changed, at, 0) {
			t.Fatalf("byte %d changed, and it is taken for torn", i)
		}
	}
}
