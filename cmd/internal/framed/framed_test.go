package framed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/pinetree-db/pinetree"
)

func framed(payloads ...string) []byte {
	var b []byte
	for _, p := range payloads {
		b = append(binary.AppendUvarint(b, uint64(len(p))), p...)
	}
	return b
}

func TestFramesAreReadBackWithTheirOffsets(t *testing.T) {
	long := string(bytes.Repeat([]byte("x"), 300))
	payloads := []string{"a", "", long, "last"}
	f := NewReader(bytes.NewReader(framed(payloads...)))
	at := pinetree.LSN(0)
	for i, want := range payloads {
		r, err := f.Next()
		if err != nil || string(r.Payload) != want || r.Prev != at || r.LSN != pinetree.LSN(len(framed(payloads[:i+1]...))) {
			t.Fatalf("frame %d: (%s, %s] with %d bytes, %v", i, r.Prev, r.LSN, len(r.Payload), err)
		}
		at = r.LSN
	}
	if _, err := f.Next(); err != io.EOF {
		t.Fatalf("at the end: %v", err)
	}
}

func TestCutFramesAreDamage(t *testing.T) {
	whole := framed("first", string(bytes.Repeat([]byte("x"), 200)))
	ends := map[int]bool{0: true, len(framed("first")): true}
	for cut := range len(whole) {
		f := NewReader(bytes.NewReader(whole[:cut]))
		var err error
		for err == nil {
			_, err = f.Next()
		}
		if ends[cut] != (err == io.EOF) || !ends[cut] && !errors.Is(err, pinetree.ErrCorrupt) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	huge := binary.AppendUvarint(nil, maxFrameBytes+1)
	if _, err := NewReader(bytes.NewReader(huge)).Next(); !errors.Is(err, pinetree.ErrCorrupt) {
		t.Errorf("a payload beyond the limit: %v", err)
	}
}

func TestFramesGoOnOnlyWhereOneEnds(t *testing.T) {
	in := framed("first", "second", "third")
	second := pinetree.LSN(len(framed("first", "second")))
	f := NewReader(bytes.NewReader(in))
	if err := f.Skip(second); err != nil {
		t.Fatal(err)
	}
	if r, err := f.Next(); err != nil || string(r.Payload) != "third" || r.Prev != second {
		t.Fatalf("after the second frame comes %q after %s, %v", r.Payload, r.Prev, err)
	}
	for _, to := range []pinetree.LSN{1, second - 1, pinetree.LSN(len(in)) + 1} {
		if err := NewReader(bytes.NewReader(in)).Skip(to); !errors.Is(err, pinetree.ErrBadBatch) {
			t.Errorf("go on at %s: %v", to, err)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(framed("a", "", "bcd"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, in []byte) {
		frames := NewReader(bytes.NewReader(in))
		at := pinetree.LSN(0)
		for {
			r, err := frames.Next()
			if err != nil {
				if err != io.EOF && !errors.Is(err, pinetree.ErrCorrupt) {
					t.Fatal(err)
				}
				return
			}
			if r.Prev != at || r.LSN > pinetree.LSN(len(in)) || !bytes.HasSuffix(in[:r.LSN], r.Payload) {
				t.Fatalf("after %s comes (%s, %s] with %x, in %x", at, r.Prev, r.LSN, r.Payload, in)
			}
			at = r.LSN
		}
	})
}
