package storepb_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// The flag is called rewrite as in the golden scripts of other packages.
var rewrite = flag.Bool("rewrite", false, "write testdata/stored anew; only for forms that were never released")

// TestStoredFormsStayReadable holds every form that is written down against
// the bytes in testdata/stored. A difference means that data written by an
// older build is no longer written, or read, the same way: make a new version
// of the form instead.
func TestStoredFormsStayReadable(t *testing.T) {
	batch := mustEncode(
		t, 7,
		pinetree.Record{Prev: 0x16B3740, LSN: 0x16B3778, Payload: []byte("hello")},
		pinetree.Record{Prev: 0x16B3778, LSN: 0x100000000},
	)
	control, err := storepb.EncodeControl(&storepb.Control{Op: &storepb.Control_Fence{
		Fence: &storepb.Fence{Volume: 7, ComputeTerm: 3, Base: 0x16B3740},
	}})
	if err != nil {
		t.Fatal(err)
	}
	kind := raftpb.EntryNormal
	entry := storepb.AppendEntry(nil, &raftpb.Entry{Index: proto.Uint64(300), Term: proto.Uint64(2), Type: &kind, Data: control})
	position, err := storepb.EncodePosition(pinetree.Position{
		Index: 300, Term: 2, Membership: []byte{1, 2, 3},
		Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{
			9: {},
			7: {
				LSN: 0x100000000, Base: 0x16B3740, Truncated: 0x16B3778, Format: pinetree.FormatRedo,
				Terms: []pinetree.TermStart{{Term: 2, Start: 0x16B3740}, {Term: 3, Start: 0x16B3778}},
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	restored, err := storepb.EncodePosition(pinetree.Position{Index: 400, Term: 3, Restored: 300})
	if err != nil {
		t.Fatal(err)
	}
	redo, err := proto.MarshalOptions{Deterministic: true}.Marshal(&storepb.Redo{Ops: []*storepb.RedoOp{
		{Op: &storepb.RedoOp_PageImage{PageImage: &storepb.PageImage{Page: 4, Image: []byte("image")}}},
		{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{Page: 4, Offset: 2, Bytes: []byte("p")}}},
		{Op: &storepb.RedoOp_KeyPut{KeyPut: &storepb.KeyPut{Key: []byte("k"), Value: []byte("v")}}},
		{Op: &storepb.RedoOp_KeyDelete{KeyDelete: &storepb.KeyDelete{Key: []byte("k")}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"batch": batch.Encoded, "batches": storepb.EncodeBatches([]pinetree.Batch{batch, batch}),
		"control": control, "entry": entry, "position": position, "restored": restored, "redo": redo,
	} {
		compareStored(t, filepath.Join("testdata", "stored", name+".hex"), data)
	}
}

func compareStored(t *testing.T, path string, data []byte) {
	t.Helper()
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(hex.Dump(data)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := []byte(hex.Dump(data)); !bytes.Equal(got, text) {
		t.Errorf("%s: the form has changed.\nstored:\n%s\nnow:\n%s", path, strings.TrimRight(string(text), "\n"), got)
	}
}
