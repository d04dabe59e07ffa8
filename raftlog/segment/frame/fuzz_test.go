package frame

import (
	"bytes"
	"slices"
	"testing"

	"github.com/pinetree-db/pinetree"
)

// sealed makes a frame of any contents, with checksums that are right.
func sealed(h header, at Place, head, data []byte) []byte {
	h.headBytes, h.bodyBytes = len(head), len(head)+len(data)
	buf := slices.Concat(make([]byte, HeaderBytes), head, data)
	buf = append(buf, make([]byte, Bytes(h.bodyBytes)-len(buf))...)
	putHeader(buf, at, h)
	return buf
}

// FuzzFrame gives the decoders heads whose checksum is good.
func FuzzFrame(f *testing.F) {
	_, _, _ = Walk(oneOfEach(), 7, func(fr Frame) error {
		f.Add(byte(fr.Kind), uint64(fr.Group), fr.head, fr.data)
		return nil
	})
	f.Add(byte(Moved), uint64(1), []byte{1, 5, 1, 0, 1, 9, 9, 9, 9}, []byte("x"))
	f.Fuzz(func(t *testing.T, k byte, group uint64, head, data []byte) {
		if kindNames[k] == "" {
			return
		}
		at := Place{Segment: 1, Offset: 64}
		buf := sealed(header{Kind: Kind(k), Group: pinetree.GroupID(group), Synced: 32}, at, head, data)
		fr, wrong := readFrame(append(buf, 1, 2, 3), at)
		if wrong != "" || fr.Size != len(buf) || !bytes.Equal(fr.head, head) || !bytes.Equal(fr.data, data) ||
			fr.Kind != Kind(k) || fr.Group != pinetree.GroupID(group) || fr.Synced != 32 {
			t.Fatalf("a frame came back as %+v, %s", fr, wrong)
		}
		if states, last, wrong := decodeCheckpoint(head); wrong == "" && last {
			checkpointAgain(t, states)
		}
		c, wrong := decodeChange(fr)
		if wrong != "" {
			return
		}
		badData(fr, c.Slots)
		for i, s := range c.Slots {
			r := &reader{rest: appendSlot([]byte{1, 1}, s)}
			_, again := r.table(s.Bytes(), Place{1, int64(s.Offset)})
			if r.wrong != "" || len(again) != 1 || again[0] != s {
				t.Fatalf("slot %d came back as %+v, was %+v: %s", i, again, s, r.wrong)
			}
			if from := int64(s.Offset) - at.Offset; from < HeaderBytes || from+int64(s.Bytes()) > int64(len(buf)) {
				t.Fatalf("slot %d is outside the frame: %+v", i, s)
			}
		}
	})
}

// checkpointAgain checks that states that were read are read again from what
// would be written of them.
func checkpointAgain(t *testing.T, states []State) {
	var b Batch
	b.Reset(Place{}, 0)
	b.AddCheckpoint(states)
	fr, wrong := readFrame(b.buf, Place{})
	again, last, wrongHead := decodeCheckpoint(fr.head)
	if wrong != "" || wrongHead != "" || !last || !slices.Equal(states, again) {
		t.Fatalf("a checkpoint came back as %v, %s%s, was %v", again, wrong, wrongHead, states)
	}
}

// FuzzWalk gives whole files to those who read them.
func FuzzWalk(f *testing.F) {
	f.Add(oneOfEach())
	f.Add(oneOfEach()[:200])
	f.Fuzz(func(t *testing.T, data []byte) {
		end, wrong, err := Walk(data, 7, func(Frame) error { return nil })
		if end > int64(len(data)) || err != nil {
			t.Fatalf("the frames end at %d of %d, %v", end, len(data), err)
		}
		if wrong == "" || end == 0 {
			return
		}
		before := slices.Clone(data)
		Damage(data, Place{7, end})
		if !bytes.Equal(before, data) {
			t.Fatal("looking at what is wrong changed it")
		}
		last := Wipe(data, Place{7, end})
		if again := Wipe(data, Place{7, end}); again != end || last < end || !bytes.Equal(data[:end], before[:end]) {
			t.Fatalf("wiped from %d up to %d, and then up to %d", end, last, again)
		}
	})
}
