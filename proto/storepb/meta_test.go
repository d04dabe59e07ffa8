package storepb_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

func sampleTxn() meta.Txn {
	span := func(key, end string) meta.Span { return meta.Span{Key: []byte(key), End: []byte(end)} }
	return meta.Txn{
		Compares: []meta.Compare{
			{Key: []byte("a"), Value: []byte("1")},
			{Key: []byte("b"), Target: meta.TargetVersion, Relation: meta.Greater, Number: 0},
			{Key: []byte("b"), Target: meta.TargetCreated, Relation: meta.NotEqual, Number: 7},
			{Key: []byte("b"), Target: meta.TargetModified, Relation: meta.Less, Number: 9},
		},
		Then:      []meta.Op{{Kind: meta.OpPut, Span: span("a", ""), Value: []byte("2")}, {Kind: meta.OpDelete, Span: span("b", "c")}},
		Otherwise: []meta.Op{{Kind: meta.OpDelete, Span: span("a", "\x00")}, {Kind: meta.OpGet, Span: span("a", ""), Limit: 3}, {Kind: meta.OpPut, Span: span("z", "")}},
		ID:        []byte("id"),
		Since:     5,
	}
}

// sampleRecords are a change, a deletion and a memory as a replica makes them, so
// that what a transaction's sum is cannot change either.
func sampleRecords(t testing.TB) map[string]meta.Record {
	first, _, err := meta.Evaluate(meta.Empty(), meta.Proposal{Txn: sampleTxn(), Index: 7})
	if err != nil {
		t.Fatal(err)
	}
	table, _, err := meta.Empty().Advance(first)
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := meta.Evaluate(table, meta.Proposal{Txn: meta.Txn{Then: sampleTxn().Otherwise[:1]}, Index: 8})
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Records) != 2 || len(second.Records) != 1 {
		t.Fatalf("%+v, %+v", first, second)
	}
	return map[string]meta.Record{
		"metachange": first.Records[0], "metamemory": first.Records[1], "metadeletion": second.Records[0],
	}
}

func TestStoredFormsOfMetadataStayReadable(t *testing.T) {
	control, err := storepb.EncodeControl(storepb.StoreMetaTxn(7, sampleTxn(), 1<<63))
	if err != nil {
		t.Fatal(err)
	}
	compareStored(t, filepath.Join("testdata", "stored", "metatxn.hex"), control)
	for name, r := range sampleRecords(t) {
		data, err := storepb.EncodeMetaRecord(7, r)
		if err != nil {
			t.Fatal(err)
		}
		compareStored(t, filepath.Join("testdata", "stored", name+".hex"), data)
		id, read, err := storepb.DecodeMetaRecord(data)
		if err != nil || id != 7 {
			t.Fatalf("%s: volume %d, %v", name, id, err)
		}
		if diff := cmp.Diff(r, read, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s, written (-) and read (+):\n%s", name, diff)
		}
	}
}

func FuzzMetaRecord(f *testing.F) {
	for _, r := range sampleRecords(f) {
		data, err := storepb.EncodeMetaRecord(7, r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		id, r, err := storepb.DecodeMetaRecord(data)
		if err != nil {
			wantCorrupt(t, err, "decode")
			return
		}
		if (r.Change == nil) == (r.Memory == nil) {
			t.Fatalf("a record is a change or a memory: %+v", r)
		}
		again, err := storepb.EncodeMetaRecord(id, r)
		if err != nil {
			t.Fatal(err)
		}
		sameID, read, err := storepb.DecodeMetaRecord(again)
		if err != nil || sameID != id {
			t.Fatalf("volume %d, %v", sameID, err)
		}
		if diff := cmp.Diff(r, read, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzMetaTxn(f *testing.F) {
	data, err := proto.Marshal(storepb.StoreMetaTxn(7, sampleTxn(), 9).GetMetaTxn())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &storepb.MetaTxn{}
		if proto.Unmarshal(data, m) != nil {
			return
		}
		x, err := m.Read()
		if err != nil {
			wantCorrupt(t, err, "read")
			return
		}
		// What was read can be evaluated, whether it passes the checks or not.
		if delta, _, err := meta.Evaluate(meta.Empty(), meta.Proposal{Txn: x, Index: 1}); err == nil {
			if _, _, err := meta.Empty().Advance(delta); err != nil {
				t.Fatal(err)
			}
		}
		again := storepb.StoreMetaTxn(1, x, 1).GetMetaTxn()
		read, err := again.Read()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(x, read, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}
