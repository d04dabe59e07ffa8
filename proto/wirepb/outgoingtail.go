package wirepb

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/pinetree-db/pinetree"
)

// AppendTailBatch appends an encoded batch to dst as it stands in a TailResponse.
// What such calls made, one after the other, is a piece of an OutgoingTail.
func AppendTailBatch(dst, encoded []byte) []byte {
	dst = protowire.AppendVarint(protowire.AppendTag(dst, 1, protowire.BytesType), uint64(len(encoded)))
	return append(dst, encoded...)
}

// TailBatchBytes is by how much AppendTailBatch lengthens dst for a batch of so
// many bytes.
func TailBatchBytes(encoded int) int {
	return protowire.SizeTag(1) + protowire.SizeBytes(encoded)
}

// OutgoingTail is a TailResponse as it is sent: encoded once, out of memory that
// any number of streams share. It never changes.
type OutgoingTail struct {
	out  mem.BufferSlice
	size int
}

// NewOutgoingTail makes a message of pieces that AppendTailBatch made. It refers
// to them, and they must not be changed any more.
func NewOutgoingTail(pieces [][]byte, applied pinetree.LSN) *OutgoingTail {
	var g gatherer
	for _, p := range pieces {
		g.payload(p)
	}
	g.number(2, uint64(applied))
	m := &OutgoingTail{out: g.done()}
	m.size = m.out.Len()
	return m
}

// Bytes is the size of the message.
func (m *OutgoingTail) Bytes() int { return m.size }
