package engine_test

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

func redoOf(ops ...*storepb.RedoOp) *storepb.Redo { return &storepb.Redo{Ops: ops} }

func image(page uint64, data []byte) *storepb.RedoOp {
	return &storepb.RedoOp{Op: &storepb.RedoOp_PageImage{PageImage: &storepb.PageImage{Page: page, Image: data}}}
}

func patch(page uint64, offset uint32, data []byte) *storepb.RedoOp {
	return &storepb.RedoOp{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{Page: page, Offset: offset, Bytes: data}}}
}

func put(key, value string) *storepb.RedoOp {
	return &storepb.RedoOp{Op: &storepb.RedoOp_KeyPut{KeyPut: &storepb.KeyPut{Key: []byte(key), Value: []byte(value)}}}
}

func del(key string) *storepb.RedoOp {
	return &storepb.RedoOp{Op: &storepb.RedoOp_KeyDelete{KeyDelete: &storepb.KeyDelete{Key: []byte(key)}}}
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decode(payload []byte) ([]engine.Op, error) {
	var ops []engine.Op
	err := engine.DecodeRedo(payload, func(op engine.Op) error {
		ops = append(ops, op)
		return nil
	})
	return ops, err
}

// asMessage turns decoded ops back into the message that they came from.
func asMessage(ops []engine.Op) *storepb.Redo {
	m := &storepb.Redo{}
	for _, op := range ops {
		switch op.Kind {
		case engine.PageImage:
			m.Ops = append(m.Ops, image(uint64(op.Page), op.Data))
		case engine.PagePatch:
			m.Ops = append(m.Ops, patch(uint64(op.Page), uint32(op.Offset), op.Data))
		case engine.KeyPut:
			m.Ops = append(m.Ops, put(string(op.Key), string(op.Data)))
		case engine.KeyDelete:
			m.Ops = append(m.Ops, del(string(op.Key)))
		}
	}
	return m
}

func TestDecodeRedoReadsWhatProtobufWrites(t *testing.T) {
	for name, want := range map[string]*storepb.Redo{
		"nothing": redoOf(),
		"each kind, in order": redoOf(put("a", "1"), image(7, []byte("page")), patch(7, 2, []byte("xx")),
			del("a"), put("a", "2"), put("", ""), image(0, nil), patch(1<<63, 9, nil)),
	} {
		t.Run(name, func(t *testing.T) {
			ops, err := decode(marshal(t, want))
			if err != nil {
				t.Fatal(err)
			}
			if got := asMessage(ops); !proto.Equal(got, want) {
				t.Fatalf("decoded %v, want %v", got, want)
			}
		})
	}
}

func TestDecodeRedoRefusesWhatItCannotReplay(t *testing.T) {
	good := marshal(t, redoOf(put("key", "value")))
	for name, payload := range map[string][]byte{
		"text":                    []byte("not a redo message"),
		"cut short":               good[:len(good)-1],
		"an op without a change":  marshal(t, redoOf(&storepb.RedoOp{})),
		"an unknown field":        append(bytes.Clone(good), 0x10, 1),
		"an unknown kind of op":   {0x0a, 2, 0x2a, 0},
		"two changes in an op":    {0x0a, 4, 0x22, 0, 0x22, 0},
		"a field of another type": {0x0a, 4, 0x0a, 2, 0x0d, 1},
		"a key above the limit":   marshal(t, redoOf(put(string(make([]byte, engine.MaxKeyBytes+1)), ""))),
		"a patch far out":         marshal(t, redoOf(patch(1, 1<<31, []byte("x")))),
		"a patch just too far":    marshal(t, redoOf(patch(1, engine.MaxPageBytes, []byte("x")))),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := decode(payload); !errors.Is(err, pinetree.ErrCorrupt) {
				t.Fatalf("error %v, want ErrCorrupt", err)
			}
		})
	}
}

func TestCheckRedoNamesTheRecord(t *testing.T) {
	b, err := storepb.EncodeBatch(3, 1, []pinetree.Record{
		{Prev: 0, LSN: 10, Payload: marshal(t, redoOf(put("k", "v")))},
		{Prev: 10, LSN: 20, Payload: []byte("junk")},
	})
	if err != nil {
		t.Fatal(err)
	}
	var bad *pinetree.CorruptError
	if err := engine.CheckRedo(b); !errors.As(err, &bad) || bad.Where != "redo record (0/A, 0/14] of volume 3" {
		t.Fatalf("error %v, want a CorruptError that names record (0/A, 0/14]", err)
	}
}

func TestPatchLengthensAPageAndFillsTheGap(t *testing.T) {
	page := engine.Op{Kind: engine.PagePatch, Offset: 4, Data: []byte("ab")}.Patch([]byte("xy"))
	if want := "xy\x00\x00ab"; string(page) != want {
		t.Fatalf("page %q, want %q", page, want)
	}
	// Memory that is reused must not show through the gap.
	page = engine.Op{Kind: engine.PagePatch, Offset: 4, Data: []byte("c")}.Patch(page[:2])
	if want := "xy\x00\x00c"; string(page) != want {
		t.Fatalf("page in reused memory %q, want %q", page, want)
	}
}

// FuzzDecodeRedo compares with protobuf's own decoder: what ours takes, both
// read alike, and what protobuf refuses, ours refuses.
func FuzzDecodeRedo(f *testing.F) {
	f.Add([]byte{})
	f.Add(marshal(f, redoOf(put("a", "1"), image(7, []byte("page")), patch(7, 2, []byte("xx")), del("a"))))
	f.Add([]byte{0x0a, 4, 0x22, 0, 0x22, 0})
	f.Fuzz(func(t *testing.T, payload []byte) {
		ops, err := decode(payload)
		want := &storepb.Redo{}
		if proto.Unmarshal(payload, want) != nil {
			if err == nil {
				t.Fatal("decoded what protobuf refuses")
			}
			return
		}
		if err == nil && !proto.Equal(asMessage(ops), want) {
			t.Fatalf("decoded %v, protobuf reads %v", asMessage(ops), want)
		}
	})
}
