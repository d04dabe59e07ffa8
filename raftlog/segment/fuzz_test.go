package segment

import (
	"bytes"
	"slices"
	"testing"

	"github.com/pinetree-db/pinetree"
)

// sealed makes a frame of any contents, with checksums that are right.
func sealed(h header, at place, head, data []byte) []byte {
	h.headBytes, h.bodyBytes = len(head), len(head)+len(data)
	buf := slices.Concat(make([]byte, frameHeaderBytes), head, data)
	buf = append(buf, make([]byte, frameBytes(h.bodyBytes)-len(buf))...)
	putHeader(buf, at, h)
	return buf
}

// FuzzFrame gives the decoders heads whose checksum is good.
func FuzzFrame(f *testing.F) {
	_, _, _ = walk(oneOfEach(), 7, func(fr frame) error {
		f.Add(byte(fr.kind), uint64(fr.group), fr.head, fr.data)
		return nil
	})
	f.Add(byte(kindMoved), uint64(1), []byte{1, 5, 1, 0, 1, 9, 9, 9, 9}, []byte("x"))
	f.Fuzz(func(t *testing.T, k byte, group uint64, head, data []byte) {
		if kindNames[k] == "" {
			return
		}
		at := place{segment: 1, offset: 64}
		buf := sealed(header{kind: kind(k), group: pinetree.GroupID(group), synced: 32}, at, head, data)
		fr, wrong := readFrame(append(buf, 1, 2, 3), at)
		if wrong != "" || fr.size != len(buf) || !bytes.Equal(fr.head, head) || !bytes.Equal(fr.data, data) ||
			fr.kind != kind(k) || fr.group != pinetree.GroupID(group) || fr.synced != 32 {
			t.Fatalf("a frame came back as %+v, %s", fr, wrong)
		}
		if states, last, wrong := decodeCheckpoint(head); wrong == "" && last {
			checkpointAgain(t, states)
		}
		c, wrong := decodeChange(fr)
		if wrong != "" {
			return
		}
		badData(fr, c.slots)
		for i, s := range c.slots {
			r := &reader{rest: appendSlot([]byte{1, 1}, s)}
			_, again := r.table(s.bytes(), place{1, int64(s.offset)})
			if r.wrong != "" || len(again) != 1 || again[0] != s {
				t.Fatalf("slot %d came back as %+v, was %+v: %s", i, again, s, r.wrong)
			}
			if from := int64(s.offset) - at.offset; from < frameHeaderBytes || from+int64(s.bytes()) > int64(len(buf)) {
				t.Fatalf("slot %d is outside the frame: %+v", i, s)
			}
		}
	})
}

// checkpointAgain checks that states that were read are read again from what
// would be written of them.
func checkpointAgain(t *testing.T, states []state) {
	var b batch
	b.reset(place{}, 0)
	b.addCheckpoint(states)
	fr, wrong := readFrame(b.buf, place{})
	again, last, wrongHead := decodeCheckpoint(fr.head)
	if wrong != "" || wrongHead != "" || !last || !slices.Equal(states, again) {
		t.Fatalf("a checkpoint came back as %v, %s%s, was %v", again, wrong, wrongHead, states)
	}
}

// FuzzSegment gives recovery whole files.
func FuzzSegment(f *testing.F) {
	f.Add(oneOfEach())
	f.Add(oneOfEach()[:200])
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &recovery{index: newIndex(0), oldest: true}
		end, wrong, err := walk(data, 7, r.visit)
		if end > int64(len(data)) {
			t.Fatalf("the frames end at %d of %d", end, len(data))
		}
		if wrong == "" || err != nil || end == 0 {
			return
		}
		before := slices.Clone(data)
		acknowledged(data, place{7, end})
		if !bytes.Equal(before, data) {
			t.Fatal("looking at what is wrong changed it")
		}
	})
}

// FuzzNames gives recovery the names of files.
func FuzzNames(f *testing.F) {
	f.Add(fileName(1), fileName(2), fileName(3)+newSuffix)
	f.Add(fileName(1), fileName(3), fileName(9)+spareSuffix)
	f.Add("LOCK", "notes.txt", "1.raftlog")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		l, err := sortNames([]string{a, b, c})
		if err != nil {
			return
		}
		for i, n := range l.segments {
			if i > 0 && n != l.segments[i-1]+1 {
				t.Fatalf("segments %v have a gap", l.segments)
			}
			if !slices.Contains([]string{a, b, c}, fileName(n)) {
				t.Fatalf("segment %d is none of %q, %q, %q", n, a, b, c)
			}
		}
	})
}
