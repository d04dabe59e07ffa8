package sim

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree/proto/storepb"
)

// redo is the payload of a redo volume's record: a key, and at times a page.
func redo(key int, value []byte) []byte {
	ops := []*storepb.RedoOp{{Op: &storepb.RedoOp_KeyPut{KeyPut: &storepb.KeyPut{
		Key: fmt.Appendf(nil, "key %d", key), Value: value,
	}}}}
	if key%5 == 0 {
		ops = append(ops, &storepb.RedoOp{Op: &storepb.RedoOp_PageImage{PageImage: &storepb.PageImage{
			Page: uint64(key), Image: value,
		}}})
	}
	payload, err := proto.Marshal(&storepb.Redo{Ops: ops})
	if err != nil {
		panic(err) // plain messages always marshal
	}
	return payload
}
