package frame

import (
	"bytes"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
)

func testEntries(first uint64, data ...string) []*raftpb.Entry {
	var made []*raftpb.Entry
	for i, d := range data {
		index, term, kind := first+uint64(i), uint64(3), raftpb.EntryNormal
		made = append(made, &raftpb.Entry{Index: &index, Term: &term, Type: &kind, Data: []byte(d)})
	}
	return made
}

// oneOfEach makes the contents of a segment with a frame of each kind but
// moved.
func oneOfEach() []byte {
	var b Batch
	b.Reset(Place{Segment: 7}, FileHeaderBytes)
	b.buf = append(b.buf, FileHeader(7, 4096)...)
	b.AddCheckpoint([]State{
		{Group: 1, Hard: HardState{3, 1, 5}, Start: raftlog.Point{Index: 4, Term: 2}, Last: 9},
		{Group: 2},
	})
	term := uint64(3)
	b.AddUpdate(&raftlog.Update{
		Group: 1, Restart: &raftlog.Point{Index: 8, Term: 3}, HardState: &raftpb.HardState{Term: &term}, Entries: testEntries(9, "a", "", "ccc"),
	})
	b.AddCompaction(1, raftlog.Point{Index: 9, Term: 3})
	b.AddEmpty(Removal, 2)
	b.AddEmpty(Probe, 0)
	return b.buf
}

func TestFramesAreReadAsTheyWereWritten(t *testing.T) {
	var kinds []Kind
	data := append(oneOfEach(), make([]byte, 100)...)
	end, wrong, err := Walk(data, 7, func(f Frame) error {
		kinds = append(kinds, f.Kind)
		switch f.Kind {
		case Checkpoint:
			states, last, wrong := decodeCheckpoint(f.head)
			if wrong != "" || !last || len(states) != 2 || states[0].Last != 9 || states[0].Hard.Commit != 5 || states[1] != (State{Group: 2}) {
				t.Errorf("checkpoint: %v, %v, %s", states, last, wrong)
			}
		case Update:
			c, wrong := decodeChange(f)
			if wrong != "" || c.Group != 1 || c.Start != (raftlog.Point{Index: 8, Term: 3}) || c.Hard != (HardState{Term: 3}) || c.First != 9 || len(c.Slots) != 3 {
				t.Errorf("update: %+v, %s", c, wrong)
			}
			for i, s := range c.Slots {
				if got := data[s.Offset:][:s.Bytes()]; string(got) != []string{"a", "", "ccc"}[i] || s.Term != 3 || s.Segment != 7 {
					t.Errorf("slot %d: %+v, %q", i, s, got)
				}
			}
		}
		return nil
	})
	want := []Kind{Checkpoint, Update, Compaction, Removal, Probe}
	if int(end) != len(data)-100 || wrong == "" || Damage(data, Place{7, end}) != "" || err != nil || !slices.Equal(kinds, want) {
		t.Errorf("walked to %d of %d, %q, %v, kinds %q", end, len(data)-100, wrong, err, kinds)
	}
}

func TestAFrameIsReadOnlyAtItsOwnPlace(t *testing.T) {
	at := Place{Segment: 3, Offset: 96}
	var b Batch
	b.Reset(at, 64)
	b.AddEmpty(Probe, 0)
	if _, wrong := readFrame(b.buf, at); wrong != "" {
		t.Fatal(wrong)
	}
	for _, other := range []Place{{3, 64}, {3, 128}, {2, 96}, {4, 96}, {3 << 32, 96}, {3, 96 << 32}} {
		if _, wrong := readFrame(b.buf, other); wrong == "" {
			t.Errorf("a frame of %v was read at %v", at, other)
		}
	}
}

func TestEveryFlippedBitOfASegmentIsNoticed(t *testing.T) {
	good := oneOfEach()
	padding := map[int64]bool{} // what nobody reads
	if _, wrong, err := Walk(good, 7, func(f Frame) error {
		for at := f.At.Offset + HeaderBytes + int64(f.bodyBytes); at < f.At.Offset+int64(f.Size); at++ {
			padding[at] = true
		}
		return nil
	}); wrong != "" || err != nil {
		t.Fatal(wrong, err)
	}
	for bit := range 8 * len(good) {
		data := slices.Clone(good)
		data[bit/8] ^= 1 << (bit % 8)
		end, wrong, err := Walk(data, 7, func(Frame) error { return nil })
		if (wrong == "") != padding[int64(bit/8)] || err != nil {
			t.Errorf("bit %d flipped: walked to %d, %q, %v", bit, end, wrong, err)
		}
		if padding[int64(bit/8)] {
			continue
		}
		if at := int64(bit / 8); end > at {
			t.Errorf("bit %d flipped: a frame that ends at %d was taken for good", bit, end)
		}
		if end > 0 && Damage(data, Place{7, end}) == "" {
			t.Errorf("bit %d flipped: taken for a torn write: %s", bit, wrong)
		}
	}
}

func TestBodiesThatMakeNoSenseAreRefused(t *testing.T) {
	line := []byte{3, 0, 1, 9, 9, 9, 9} // raft term 3, one byte
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		kind  Kind
		group pinetree.GroupID
		head  []byte
		data  string
	}{
		"an update without flags":     {Update, 1, nil, ""},
		"unknown flags":               {Update, 1, []byte{8}, ""},
		"data of no entry":            {Update, 1, []byte{0}, "x"},
		"no group":                    {Update, 0, []byte{0}, ""},
		"a probe of a group":          {Probe, 1, nil, ""},
		"an end of a group":           {End, 1, nil, ""},
		"a probe with a body":         {Probe, 0, []byte{1}, ""},
		"a removal with a body":       {Removal, 1, []byte{1}, ""},
		"a compaction without a term": {Compaction, 1, []byte{5}, ""},
		"a number without an end":     {Compaction, 1, []byte{5, 0x80}, ""},
		"a restart cut short":         {Update, 1, []byte{HasRestart, 5}, ""},
		"a hard state cut short":      {Update, 1, []byte{HasHardState, 5, 1}, ""},
		"no entries":                  {Update, 1, []byte{HasEntries, 0, 5}, ""},
		"fewer entries than said":     {Update, 1, join([]byte{HasEntries, 2, 5}, line), "xx"},
		"more entries than said":      {Update, 1, join([]byte{HasEntries, 1, 5}, line, line), "x"},
		"far more entries than fit":   {Moved, 1, join([]byte{0xff, 0xff, 0xff, 0xff, 0x7f, 5}, line), "x"},
		"an entry of index 0":         {Moved, 1, join([]byte{1, 0}, line), "x"},
		"an index that overflows":     {Moved, 1, join([]byte{1}, bytes.Repeat([]byte{0xff}, 9), []byte{1}, line), "x"},
		"an entry of no known type":   {Moved, 1, []byte{1, 5, 3, 77, 1, 9, 9, 9, 9}, "x"},
		"an entry without a checksum": {Moved, 1, []byte{1, 5, 3, 0, 0x81, 0x80, 0x80, 0x80, 0}, "x"},
		"less data than said":         {Moved, 1, join([]byte{1, 5}, line), ""},
		"more data than said":         {Moved, 1, join([]byte{1, 5}, line), "xx"},
	} {
		f := Frame{header: header{Kind: c.kind, Group: c.group}, At: Place{1, 64}, head: c.head, data: []byte(c.data)}
		if _, wrong := decodeChange(f); wrong == "" {
			t.Errorf("%s: was accepted", name)
		}
	}
	for name, body := range map[string][]byte{
		"a checkpoint without flags":        nil,
		"a checkpoint with unknown flags":   {2},
		"a checkpoint of group 0":           {1, 0, 1, 1, 1, 1, 1, 1},
		"a log that ends before its start":  {1, 1, 1, 1, 1, 5, 1, 4},
		"a group that is cut short":         {1, 1, 1, 1},
		"a log with more entries than fit":  {1, 1, 1, 1, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"a checkpoint with bytes too many":  {1, 1, 1, 1, 1, 5, 1, 6, 9},
		"a checkpoint with a broken number": {1, 0x80},
	} {
		if _, _, wrong := decodeCheckpoint(body); wrong == "" {
			t.Errorf("%s: was accepted", name)
		}
	}
}

func TestCheckpointsOfManyGroupsTakeSeveralFrames(t *testing.T) {
	var states []State
	for g := range pinetree.GroupID(200_000) {
		states = append(states, State{Group: g + 1, Hard: HardState{uint64(g), 1, 2}, Last: uint64(g % 3)})
	}
	var b Batch
	b.Reset(Place{Segment: 1}, FileHeaderBytes)
	b.buf = append(b.buf, FileHeader(1, 0)...)
	b.AddCheckpoint(states)
	frames, last := 0, false
	var read []State
	_, wrong, err := Walk(b.buf, 1, func(f Frame) error {
		frames, last, read = frames+1, f.Last, append(read, f.States...)
		return nil
	})
	if wrong != "" || err != nil {
		t.Fatal(wrong, err)
	}
	if frames < 2 || !last || !slices.Equal(read, states) {
		t.Errorf("%d frames, complete %v, %d groups", frames, last, len(read))
	}
}
