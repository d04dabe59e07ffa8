package segment

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
	var b batch
	b.reset(place{segment: 7}, fileHeaderBytes)
	b.buf = append(b.buf, fileHeader(7, 4096)...)
	b.addCheckpoint([]state{
		{group: 1, hard: hardState{3, 1, 5}, start: raftlog.Point{Index: 4, Term: 2}, last: 9},
		{group: 2},
	})
	term := uint64(3)
	b.addUpdate(&raftlog.Update{
		Group: 1, Restart: &raftlog.Point{Index: 8, Term: 3}, HardState: &raftpb.HardState{Term: &term}, Entries: testEntries(9, "a", "", "ccc"),
	})
	b.addCompaction(1, raftlog.Point{Index: 9, Term: 3})
	b.addEmpty(kindRemoval, 2)
	b.addEmpty(kindProbe, 0)
	return b.buf
}

func TestFramesAreReadAsTheyWereWritten(t *testing.T) {
	var kinds []kind
	data := append(oneOfEach(), make([]byte, 100)...)
	end, wrong, err := walk(data, 7, func(f frame) error {
		kinds = append(kinds, f.kind)
		switch f.kind {
		case kindCheckpoint:
			states, last, wrong := decodeCheckpoint(f.head)
			if wrong != "" || !last || len(states) != 2 || states[0].last != 9 || states[0].hard.commit != 5 || states[1] != (state{group: 2}) {
				t.Errorf("checkpoint: %v, %v, %s", states, last, wrong)
			}
		case kindUpdate:
			c, wrong := decodeChange(f)
			if wrong != "" || c.group != 1 || c.start != (raftlog.Point{Index: 8, Term: 3}) || c.hard != (hardState{term: 3}) || c.first != 9 || len(c.slots) != 3 {
				t.Errorf("update: %+v, %s", c, wrong)
			}
			for i, s := range c.slots {
				if got := data[s.offset:][:s.bytes()]; string(got) != []string{"a", "", "ccc"}[i] || s.term != 3 || s.segment != 7 {
					t.Errorf("slot %d: %+v, %q", i, s, got)
				}
			}
		}
		return nil
	})
	want := []kind{kindCheckpoint, kindUpdate, kindCompaction, kindRemoval, kindProbe}
	if int(end) != len(data)-100 || wrong == "" || acknowledged(data, place{7, end}) != "" || err != nil || !slices.Equal(kinds, want) {
		t.Errorf("walk: end %d of %d, %q, %v, kinds %q", end, len(data)-100, wrong, err, kinds)
	}
}

func TestAFrameIsReadOnlyAtItsOwnPlace(t *testing.T) {
	at := place{segment: 3, offset: 96}
	var b batch
	b.reset(at, 64)
	b.addEmpty(kindProbe, 0)
	if _, wrong := readFrame(b.buf, at); wrong != "" {
		t.Fatal(wrong)
	}
	for _, other := range []place{{3, 64}, {3, 128}, {2, 96}, {4, 96}, {3 << 32, 96}, {3, 96 << 32}} {
		if _, wrong := readFrame(b.buf, other); wrong == "" {
			t.Errorf("a frame of %v was read at %v", at, other)
		}
	}
}

func TestEveryFlippedBitOfASegmentIsNoticed(t *testing.T) {
	good := oneOfEach()
	for bit := range 8 * len(good) {
		data := slices.Clone(good)
		data[bit/8] ^= 1 << (bit % 8)
		end, wrong, err := walk(data, 7, func(frame) error { return nil })
		if wrong == "" || err != nil {
			t.Errorf("bit %d flipped: walked to %d, %v", bit, end, err)
		}
		if at := int64(bit / 8); end > at {
			t.Errorf("bit %d flipped: a frame that ends at %d was taken for good", bit, end)
		}
		if end > 0 && acknowledged(data, place{7, end}) == "" {
			t.Errorf("bit %d flipped: taken for a torn write: %s", bit, wrong)
		}
	}
}

func TestBodiesThatMakeNoSenseAreRefused(t *testing.T) {
	line := []byte{3, 0, 1, 9, 9, 9, 9} // raft term 3, one byte
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		kind  kind
		group pinetree.GroupID
		head  []byte
		data  string
	}{
		"an update without flags":     {kindUpdate, 1, nil, ""},
		"unknown flags":               {kindUpdate, 1, []byte{8}, ""},
		"data of no entry":            {kindUpdate, 1, []byte{0}, "x"},
		"no group":                    {kindUpdate, 0, []byte{0}, ""},
		"a probe of a group":          {kindProbe, 1, nil, ""},
		"an end of a group":           {kindEnd, 1, nil, ""},
		"a probe with a body":         {kindProbe, 0, []byte{1}, ""},
		"a removal with a body":       {kindRemoval, 1, []byte{1}, ""},
		"a compaction without a term": {kindCompaction, 1, []byte{5}, ""},
		"a number without an end":     {kindCompaction, 1, []byte{5, 0x80}, ""},
		"a restart cut short":         {kindUpdate, 1, []byte{hasRestart, 5}, ""},
		"a hard state cut short":      {kindUpdate, 1, []byte{hasHardState, 5, 1}, ""},
		"no entries":                  {kindUpdate, 1, []byte{hasEntries, 0, 5}, ""},
		"fewer entries than said":     {kindUpdate, 1, join([]byte{hasEntries, 2, 5}, line), "xx"},
		"more entries than said":      {kindUpdate, 1, join([]byte{hasEntries, 1, 5}, line, line), "x"},
		"far more entries than fit":   {kindMoved, 1, join([]byte{0xff, 0xff, 0xff, 0xff, 0x7f, 5}, line), "x"},
		"an entry of index 0":         {kindMoved, 1, join([]byte{1, 0}, line), "x"},
		"an index that overflows":     {kindMoved, 1, join([]byte{1}, bytes.Repeat([]byte{0xff}, 9), []byte{1}, line), "x"},
		"an entry of no known type":   {kindMoved, 1, []byte{1, 5, 3, 77, 1, 9, 9, 9, 9}, "x"},
		"an entry without a checksum": {kindMoved, 1, []byte{1, 5, 3, 0, 0x81, 0x80, 0x80, 0x80, 0}, "x"},
		"less data than said":         {kindMoved, 1, join([]byte{1, 5}, line), ""},
		"more data than said":         {kindMoved, 1, join([]byte{1, 5}, line), "xx"},
	} {
		f := frame{header: header{kind: c.kind, group: c.group}, at: place{1, 64}, head: c.head, data: []byte(c.data)}
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
	var states []state
	for g := range pinetree.GroupID(200_000) {
		states = append(states, state{group: g + 1, hard: hardState{uint64(g), 1, 2}, last: uint64(g % 3)})
	}
	var b batch
	b.reset(place{segment: 1}, fileHeaderBytes)
	b.buf = append(b.buf, fileHeader(1, 0)...)
	b.addCheckpoint(states)
	r := &recovery{index: newIndex(0), oldest: true}
	frames := 0
	if _, wrong, err := walk(b.buf, 1, func(f frame) error { frames++; return r.visit(f) }); wrong != "" || err != nil {
		t.Fatal(wrong, err)
	}
	if frames < 2 || !r.checkpointed || !slices.Equal(r.index.states(), states) {
		t.Errorf("%d frames, complete %v, %d groups", frames, r.checkpointed, len(r.index.groups))
	}
}
