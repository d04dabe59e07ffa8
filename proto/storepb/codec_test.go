package storepb_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

func TestCommandOfBatchesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		batches := make([]pinetree.Batch, rapid.IntRange(0, 5).Draw(t, "batches"))
		for i := range batches {
			b, err := storepb.EncodeBatch(pinetree.VolumeID(i), 1, drawRecords(t))
			if err != nil {
				t.Fatal(err)
			}
			batches[i] = b
		}
		c, err := storepb.DecodeCommand(storepb.EncodeBatches(batches))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(storepb.Command{Batches: batches}, c, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("the command differs:\n%s", diff)
		}
	})
}

func TestCommandOfAControlRoundTrip(t *testing.T) {
	for _, control := range []*storepb.Control{
		{},
		{Op: &storepb.Control_CreateVolume{CreateVolume: &storepb.CreateVolume{Volume: 7, Format: 2}}},
		{Op: &storepb.Control_Fence{Fence: &storepb.Fence{Volume: 7, ComputeTerm: 3, Base: 1 << 50}}},
	} {
		data, err := storepb.EncodeControl(control)
		if err != nil {
			t.Fatal(err)
		}
		c, err := storepb.DecodeCommand(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(control, c.Control, protocmp.Transform()); diff != "" || len(c.Batches) != 0 {
			t.Fatalf("the control differs, or came with batches:\n%s", diff)
		}
	}
}

func TestEmptyCommandIsRaftsOwnEntry(t *testing.T) {
	for _, data := range [][]byte{nil, {}} {
		c, err := storepb.DecodeCommand(data)
		if err != nil || c.Batches != nil || c.Control != nil {
			t.Fatalf("%+v, %v; want nothing", c, err)
		}
	}
}

func TestCommandThatIsNotUnderstoodIsRefused(t *testing.T) {
	good := mustEncode(t, 1, pinetree.Record{LSN: 1, Payload: []byte("x")})
	for name, data := range map[string][]byte{
		"kind 0":              {0},
		"kind 3":              {3, 1, 2},
		"half a batch":        append([]byte{1}, good.Encoded[:50]...),
		"a batch and a half":  append(append([]byte{1}, good.Encoded...), good.Encoded[:49]...),
		"control without end": {2, 0x0A, 0x7F},
	} {
		_, err := storepb.DecodeCommand(data)
		wantCorrupt(t, err, name)
	}
	for bit := range len(good.Encoded) * 8 {
		data := storepb.EncodeBatches([]pinetree.Batch{good, good})
		data[1+len(good.Encoded)+bit/8] ^= 1 << (bit % 8)
		if _, err := storepb.DecodeCommand(data); err == nil {
			t.Fatalf("bit %d of the second batch was flipped and the command was believed", bit)
		}
	}
}

func drawEntry(t *rapid.T) *raftpb.Entry {
	kind := raftpb.EntryType(rapid.SampledFrom([]int32{0, 1, 2}).Draw(t, "type"))
	e := &raftpb.Entry{
		Index: proto.Uint64(rapid.Uint64().Draw(t, "index")),
		Term:  proto.Uint64(rapid.Uint64().Draw(t, "term")),
		Type:  &kind,
	}
	if data := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "data"); len(data) > 0 {
		e.Data = data
	}
	return e
}

func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := make([]*raftpb.Entry, rapid.IntRange(1, 5).Draw(t, "entries"))
		var buf []byte
		for i := range entries {
			entries[i] = drawEntry(t)
			before := len(buf)
			buf = storepb.AppendEntry(buf, entries[i])
			if took, bound := len(buf)-before, storepb.EntryBytes(entries[i]); took > bound {
				t.Fatalf("the entry took %d bytes, EntryBytes promised at most %d", took, bound)
			}
		}
		rest := buf
		for i, want := range entries {
			got, after, err := storepb.DecodeEntry(rest)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Fatalf("entry %d differs:\n%s", i, diff)
			}
			if cap(got.Data) != len(got.Data) {
				t.Fatal("an append to the entry's data would write into the next entry")
			}
			rest = after
		}
		if len(rest) != 0 {
			t.Fatalf("%d bytes are left", len(rest))
		}
	})
}

func TestEntryWithoutFieldsIsItsZeroes(t *testing.T) {
	e, _, err := storepb.DecodeEntry(storepb.AppendEntry(nil, &raftpb.Entry{}))
	if err != nil {
		t.Fatal(err)
	}
	if e.GetIndex() != 0 || e.GetTerm() != 0 || e.GetType() != raftpb.EntryNormal || e.Data != nil {
		t.Fatalf("%v, want zeroes", e)
	}
}

func TestEveryCutOfAnEntryIsRefused(t *testing.T) {
	kind := raftpb.EntryNormal
	buf := storepb.AppendEntry(nil, &raftpb.Entry{Index: proto.Uint64(1 << 60), Term: proto.Uint64(300), Type: &kind, Data: []byte("data")})
	for size := range len(buf) {
		_, _, err := storepb.DecodeEntry(buf[:size])
		wantCorrupt(t, err, "cut entry")
	}
	unknown := storepb.AppendEntry(nil, &raftpb.Entry{Index: proto.Uint64(1), Term: proto.Uint64(1)})
	unknown[2] = 9
	_, _, err := storepb.DecodeEntry(unknown)
	wantCorrupt(t, err, "unknown type")
}

func drawPosition(t *rapid.T) pinetree.Position {
	lsn := rapid.Custom(func(t *rapid.T) pinetree.LSN { return pinetree.LSN(rapid.Uint64().Draw(t, "lsn")) })
	volume := rapid.Custom(func(t *rapid.T) pinetree.VolumePosition {
		v := pinetree.VolumePosition{
			LSN: lsn.Draw(t, "lsn"), Base: lsn.Draw(t, "base"), Truncated: lsn.Draw(t, "truncated"),
			Format:   pinetree.Format(rapid.Uint8Range(0, 2).Draw(t, "format")),
			LogBytes: rapid.Int64Min(0).Draw(t, "log bytes"), TruncatedBytes: rapid.Int64Min(0).Draw(t, "truncated bytes"),
			Settings: pinetree.VolumeSettings{KeepFor: time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "keep")) * time.Millisecond, KeepBytes: rapid.Int64Min(0).Draw(t, "keep bytes")},
		}
		for range rapid.IntRange(0, 3).Draw(t, "slots") {
			v.Slots = append(v.Slots, pinetree.Slot{
				Name: rapid.String().Draw(t, "name"), LSN: lsn.Draw(t, "slot"), MaxBytes: rapid.Int64Min(0).Draw(t, "most"), Lost: rapid.Bool().Draw(t, "lost"),
			})
		}
		for range rapid.IntRange(0, 4).Draw(t, "terms") {
			v.Terms = append(v.Terms, pinetree.TermStart{
				Term: pinetree.ComputeTerm(rapid.Uint64().Draw(t, "term")), Start: lsn.Draw(t, "start"),
			})
		}
		return v
	})
	return pinetree.Position{
		Index:      pinetree.RaftIndex(rapid.Uint64().Draw(t, "index")),
		Term:       pinetree.RaftTerm(rapid.Uint64().Draw(t, "raft term")),
		Membership: rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "membership"),
		Volumes: rapid.MapOfN(
			rapid.Custom(func(t *rapid.T) pinetree.VolumeID { return pinetree.VolumeID(rapid.Uint64().Draw(t, "id")) }), volume, 0, 6,
		).Draw(t, "volumes"),
	}
}

func TestPositionRoundTripAndEqualPositionsAreEqualBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPosition(t)
		data, err := storepb.EncodePosition(p)
		if err != nil {
			t.Fatal(err)
		}
		read, err := storepb.DecodePosition(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, read, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("the position differs:\n%s", diff)
		}
		again, err := storepb.EncodePosition(read.Clone())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(data, again) {
			t.Fatalf("equal positions gave different bytes:\n%x\n%x", data, again)
		}
	})
}

func TestPositionOfNoBytesIsEmptyAndWritable(t *testing.T) {
	p, err := storepb.DecodePosition(nil)
	if err != nil {
		t.Fatal(err)
	}
	p.Volumes[1] = pinetree.VolumePosition{}
	if p.Index != 0 || len(p.Volumes) != 1 {
		t.Fatalf("%+v", p)
	}
	_, err = storepb.DecodePosition([]byte{0x22, 0x7F})
	wantCorrupt(t, err, "cut position")
}
