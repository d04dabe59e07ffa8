package storepb

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
)

// The payload of a raft entry is one kind byte and then
//
//	1  encoded batches, one after the other
//	2  a Control message
//
// Empty payloads are raft's own (a new leader's first entry).
const (
	commandBatches = 1
	commandControl = 2
)

// Command is a decoded raft entry payload: batches, or a control, or neither
// for raft's own empty entries.
type Command struct {
	Batches []pinetree.Batch
	Control *Control
}

// EncodeBatches makes the payload that carries these batches, each copied once
// into it.
func EncodeBatches(batches []pinetree.Batch) []byte { return AppendBatches(nil, batches, true) }

// AppendBatches appends batches to a payload that carries others already, or, as
// the first, to buf.
func AppendBatches(buf []byte, batches []pinetree.Batch, first bool) []byte {
	size := 1
	for _, b := range batches {
		size += len(b.Encoded)
	}
	buf = slices.Grow(buf, size)
	if first {
		buf = append(buf, commandBatches)
	}
	for _, b := range batches {
		buf = append(buf, b.Encoded...)
	}
	return buf
}

// EncodeControl makes the payload that carries a control.
func EncodeControl(c *Control) ([]byte, error) {
	return proto.MarshalOptions{}.MarshalAppend([]byte{commandControl}, c)
}

// DecodeCommand reads a raft entry payload and checks each batch's checksum.
// The batches share data's memory. Anything it does not understand is a
// *pinetree.CorruptError.
func DecodeCommand(data []byte) (Command, error) {
	var c Command
	if len(data) == 0 {
		return c, nil
	}
	switch rest := data[1:]; data[0] {
	case commandBatches:
		for len(rest) > 0 {
			b, after, err := DecodeBatch(rest)
			if err != nil {
				return c, err
			}
			c.Batches, rest = append(c.Batches, b), after
		}
	case commandControl:
		c.Control = &Control{}
		if err := proto.Unmarshal(rest, c.Control); err != nil {
			return c, &pinetree.CorruptError{Where: "raft entry payload", What: "control: " + err.Error()}
		}
	default:
		return c, &pinetree.CorruptError{Where: "raft entry payload", What: fmt.Sprintf("kind %d, this build knows 1 and 2", data[0])}
	}
	return c, nil
}
