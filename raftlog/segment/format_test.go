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
	b.buf = append(b.buf, fileHeader(7)...)
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
			states, last, wrong := decodeCheckpoint(f.body)
			if wrong != "" || !last || len(states) != 2 || states[0].last != 9 || states[0].hard.commit != 5 || states[1] != (state{group: 2}) {
				t.Errorf("checkpoint: %v, %v, %s", states, last, wrong)
			}
		case kindUpdate:
			c, wrong := decodeChange(f.header, f.body, f.at)
			if wrong != "" || c.group != 1 || c.start != (raftlog.Point{Index: 8, Term: 3}) || c.hard != (hardState{term: 3}) || c.first != 9 || len(c.slots) != 3 {
				t.Errorf("update: %+v, %s", c, wrong)
			}
			for i, s := range c.slots {
				if got := data[s.offset:][:s.length]; !bytes.HasSuffix(got, []byte([]string{"a", "", "ccc"}[i])) || s.term != 3 || s.segment != 7 {
					t.Errorf("slot %d: %+v, %q", i, s, got)
				}
			}
		}
		return nil
	})
	want := []kind{kindCheckpoint, kindUpdate, kindCompaction, kindRemoval, kindProbe}
	if int(end) != len(data)-100 || wrong != "" || err != nil || !slices.Equal(kinds, want) {
		t.Errorf("walk: end %d of %d, %q, %v, kinds %q", end, len(data)-100, wrong, err, kinds)
	}
}

func TestAFrameIsReadOnlyAtItsOwnPlace(t *testing.T) {
	at := place{segment: 3, offset: 96}
	var b batch
	b.reset(at, 64)
	b.addEmpty(kindProbe, 0)
	if _, _, _, wrong := readFrame(b.buf, at); wrong != "" {
		t.Fatal(wrong)
	}
	for _, other := range []place{{3, 64}, {3, 128}, {2, 96}, {4, 96}, {3 << 32, 96}, {3, 96 << 32}} {
		if _, _, _, wrong := readFrame(b.buf, other); wrong == "" {
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
	}
}

func TestBodiesThatMakeNoSenseAreRefused(t *testing.T) {
	entry := []byte{5, 1, 0, 1, 'x'} // index 5, raft term 1
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		kind  kind
		group pinetree.GroupID
		body  []byte
	}{
		"an update without flags":     {kindUpdate, 1, nil},
		"unknown flags":               {kindUpdate, 1, []byte{8}},
		"no group":                    {kindUpdate, 0, []byte{0}},
		"a probe of a group":          {kindProbe, 1, nil},
		"a probe with a body":         {kindProbe, 0, []byte{1}},
		"a removal with a body":       {kindRemoval, 1, []byte{1}},
		"a compaction without a term": {kindCompaction, 1, []byte{5}},
		"a number without an end":     {kindCompaction, 1, []byte{5, 0x80}},
		"a restart cut short":         {kindUpdate, 1, []byte{hasRestart, 5}},
		"a hard state cut short":      {kindUpdate, 1, []byte{hasHardState, 5, 1}},
		"no entries":                  {kindUpdate, 1, []byte{hasEntries, 0}},
		"fewer entries than said":     {kindUpdate, 1, join([]byte{hasEntries, 2}, entry)},
		"more entries than said":      {kindUpdate, 1, join([]byte{hasEntries, 1}, entry, entry)},
		"far more entries than fit":   {kindMoved, 1, join([]byte{0xff, 0xff, 0xff, 0xff, 0x7f}, entry)},
		"an entry twice":              {kindMoved, 1, join([]byte{2}, entry, entry)},
		"an entry of index 0":         {kindMoved, 1, []byte{1, 0, 1, 0, 1, 'x'}},
		"an entry of no known type":   {kindMoved, 1, []byte{1, 5, 1, 77, 1, 'x'}},
	} {
		if _, wrong := decodeChange(header{kind: c.kind, group: c.group}, c.body, place{1, 64}); wrong == "" {
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
	b.buf = append(b.buf, fileHeader(1)...)
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

// FuzzFrame gives the decoders bodies whose checksum is good.
func FuzzFrame(f *testing.F) {
	_, _, _ = walk(oneOfEach(), 7, func(fr frame) error {
		f.Add(byte(fr.kind), uint64(fr.group), fr.body)
		return nil
	})
	f.Add(byte(kindMoved), uint64(1), []byte{1, 5, 1, 0, 1, 'x'})
	f.Fuzz(func(t *testing.T, k byte, group uint64, body []byte) {
		if kindNames[kind(k)] == "" {
			return
		}
		at := place{segment: 1, offset: 64}
		buf := sealFrame(append(make([]byte, frameHeaderBytes), body...), 0, at, header{kind: kind(k), group: pinetree.GroupID(group), synced: 32})
		h, read, size, wrong := readFrame(append(buf, 1, 2, 3), at)
		if wrong != "" || size != len(buf) || !bytes.Equal(read, body) || h.kind != kind(k) || h.group != pinetree.GroupID(group) || h.synced != 32 {
			t.Fatalf("a frame came back as %+v, %q, %d bytes, %s", h, read, size, wrong)
		}
		if states, last, wrong := decodeCheckpoint(body); wrong == "" && last {
			var b batch
			b.reset(place{}, 0)
			b.addCheckpoint(states)
			again, _, wrong := decodeCheckpoint(b.buf[frameHeaderBytes:][:len(b.buf)-frameHeaderBytes-paddingOf(b.buf)])
			if wrong != "" || !slices.Equal(states, again) {
				t.Fatalf("a checkpoint came back as %v, %s, was %v", again, wrong, states)
			}
		}
		c, wrong := decodeChange(h, body, at)
		if wrong != "" {
			return
		}
		for i, s := range c.slots {
			r := &reader{rest: append([]byte{1}, buf[int64(s.offset)-at.offset:][:s.length]...)}
			first, slots := r.entries(r.rest, at)
			if r.wrong != "" || first != c.first+uint64(i) || len(slots) != 1 || slots[0].term != s.term || slots[0].crc != s.crc {
				t.Fatalf("slot %d does not hold its entry: %+v, %s", i, s, r.wrong)
			}
		}
	})
}

// paddingOf is what sealFrame appended to the only frame in buf.
func paddingOf(buf []byte) int {
	h, _ := readHeader(buf, place{})
	return len(buf) - frameHeaderBytes - h.length
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
		if wrong != "" && err == nil && end > 0 {
			acknowledged(data, place{7, end})
		}
	})
}
