// Package redotest makes the changes of a redo volume for tests.
package redotest

import (
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Payload is that of a record with these changes.
func Payload(ops ...*storepb.RedoOp) []byte {
	payload, err := proto.Marshal(&storepb.Redo{Ops: ops})
	if err != nil {
		panic(err) // a message of plain fields always encodes
	}
	return payload
}

// Image replaces a page.
func Image(page uint64, data string) *storepb.RedoOp {
	return &storepb.RedoOp{Op: &storepb.RedoOp_PageImage{PageImage: &storepb.PageImage{Page: page, Image: []byte(data)}}}
}

// Place is that of a patch.
type Place struct {
	Page   uint64
	Offset uint32
}

// Patch overwrites a part of a page.
func Patch(at Place, data string) *storepb.RedoOp {
	return &storepb.RedoOp{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{Page: at.Page, Offset: at.Offset, Bytes: []byte(data)}}}
}

// Put sets a key.
func Put(key, value string) *storepb.RedoOp {
	return &storepb.RedoOp{Op: &storepb.RedoOp_KeyPut{KeyPut: &storepb.KeyPut{Key: []byte(key), Value: []byte(value)}}}
}

// Delete removes a key.
func Delete(key string) *storepb.RedoOp {
	return &storepb.RedoOp{Op: &storepb.RedoOp_KeyDelete{KeyDelete: &storepb.KeyDelete{Key: []byte(key)}}}
}
