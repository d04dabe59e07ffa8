package lsm

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/touched"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// TestASetHasThePagesOfWhichAnImageWasKept makes records of which some write a page
// so much that it is kept as an image.
func TestASetHasThePagesOfWhichAnImageWasKept(t *testing.T) {
	patch := func(page pinetree.PageNo, size int) *storepb.RedoOp {
		return &storepb.RedoOp{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{Page: uint64(page), Bytes: make([]byte, size)}}}
	}
	payload := func(ops ...*storepb.RedoOp) []byte {
		redo, err := proto.Marshal(&storepb.Redo{Ops: ops})
		if err != nil {
			t.Fatal(err)
		}
		return redo
	}
	image := &storepb.RedoOp{Op: &storepb.RedoOp_PageImage{PageImage: &storepb.PageImage{Page: 5000, Image: []byte("image")}}}
	put := &storepb.RedoOp{Op: &storepb.RedoOp_KeyPut{KeyPut: &storepb.KeyPut{Key: []byte("k")}}}
	remove := &storepb.RedoOp{Op: &storepb.RedoOp_KeyDelete{KeyDelete: &storepb.KeyDelete{Key: []byte("l")}}}
	small := pinetree.PageNo(0) // a page that is not drawn at LSN 3
	for layout.IsConsolidated(small, 3, 10) {
		small++
	}
	drawn := pinetree.PageNo(0) // one that is
	for !layout.IsConsolidated(drawn, 3, 10) {
		drawn++
	}
	records := []pinetree.Record{
		{Prev: 0, LSN: 1, Payload: payload(image)},
		{Prev: 1, LSN: 2, Payload: payload(patch(5001, 12<<10), patch(5001, 12<<10), put)}, // more than is ever left as it is
		{Prev: 2, LSN: 3, Payload: payload(patch(small, 10), patch(drawn, 10), remove)},
	}
	b, err := storepb.EncodeBatch(1, 1, records)
	if err != nil {
		t.Fatal(err)
	}
	var s touched.Set
	if err := s.Note(b.Encoded); err != nil {
		t.Fatal(err)
	}
	want := []pinetree.PageNo{drawn, 5000, 5001}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(s.Pages))); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"k", "l"}, slices.Sorted(maps.Keys(s.Keys))); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}
