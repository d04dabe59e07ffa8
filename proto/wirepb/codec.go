package wirepb

import (
	"bytes"
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/pinetree-db/pinetree"
)

// Codec is gRPC's protobuf codec with a short way for the messages that carry
// the log, ShipRequest, TailResponse and RaftFrame, and those that carry pages,
// PageResponse, PagesResponse and Answer. Their bytes on the wire are protobuf's,
// so that any gRPC client can speak to it; but payloads are sent from where they
// lie, and what is received is copied once, out of gRPC's buffers, into memory that
// the batches and raft entries go on to share. Generated code would copy each
// payload twice on either side.
type Codec struct{}

// Name implements encoding.CodecV2: it stands for the codec of that name.
func (Codec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2. Payloads must not be changed until the
// message has been sent.
func (Codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *ShipRequest:
		var g gatherer
		g.number(1, m.Volume)
		g.number(2, m.ComputeTerm)
		g.payloads(3, m.Batches)
		return g.done(), nil
	case *TailResponse:
		var g gatherer
		g.payloads(1, m.Batches)
		g.number(2, m.AppliedLsn)
		return g.done(), nil
	case *PageResponse:
		return marshalPage(m)
	case *PagesResponse:
		return marshalPages(m)
	case *Answer:
		return marshalAnswer(m)
	case *OutgoingTail:
		return m.out, nil
	case *OutgoingFrame:
		return m.gather(), nil
	}
	return encoding.GetCodecV2("proto").Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (Codec) Unmarshal(data mem.BufferSlice, v any) error {
	var f fields
	switch m := v.(type) {
	case *ShipRequest:
		f.numbers = []number{{1, &m.Volume}, {2, &m.ComputeTerm}}
		f.payload = func(n protowire.Number, b []byte) {
			if n == 3 {
				m.Batches = append(m.Batches, b)
			}
		}
	case *TailResponse:
		f.numbers = []number{{2, &m.AppliedLsn}}
		f.payload = func(n protowire.Number, b []byte) {
			if n == 1 {
				m.Batches = append(m.Batches, b)
			}
		}
	case *PageResponse:
		return unmarshalPage(together(data), m)
	case *PagesResponse:
		return unmarshalPages(together(data), m)
	case *Answer:
		return unmarshalAnswer(together(data), m)
	case *RaftFrame:
		f.numbers = []number{{2, &m.From}, {3, &m.To}}
		f.payload = func(n protowire.Number, b []byte) {
			switch n {
			case 1:
				m.Cluster = string(b)
			case 4:
				m.Messages = b
			}
		}
	default:
		return encoding.GetCodecV2("proto").Unmarshal(data, v)
	}
	return f.read(together(data))
}

// together copies what was received into one piece of memory of its own.
func together(data mem.BufferSlice) []byte {
	pieces := make([][]byte, len(data))
	for i, b := range data {
		pieces[i] = b.ReadOnlyData()
	}
	return bytes.Join(pieces, nil) // unlike make, it does not clear the memory first
}

// fields is how a message is read: where its numbers go, and who takes its runs
// of bytes. What is not known is skipped.
type fields struct {
	numbers []number
	payload func(n protowire.Number, b []byte)
}

type number struct {
	number protowire.Number
	to     *uint64
}

// read reads an encoded message, whose memory the payloads go on to share.
func (f fields) read(buf []byte) error {
	for len(buf) > 0 {
		at, kind, n := protowire.ConsumeTag(buf)
		if n < 0 {
			return fmt.Errorf("protobuf: %w", protowire.ParseError(n))
		}
		if at > protowire.MaxValidNumber {
			return fmt.Errorf("protobuf: field number %d", at)
		}
		buf = buf[n:]
		switch kind {
		case protowire.VarintType:
			var value uint64
			value, n = protowire.ConsumeVarint(buf)
			for _, known := range f.numbers {
				if known.number == at {
					*known.to = value
				}
			}
		case protowire.BytesType:
			var b []byte
			if b, n = protowire.ConsumeBytes(buf); n >= 0 {
				f.payload(at, b[:len(b):len(b)])
			}
		default:
			n = protowire.ConsumeFieldValue(at, kind, buf)
		}
		if n < 0 {
			return fmt.Errorf("protobuf: field %d: %w", at, protowire.ParseError(n))
		}
		buf = buf[n:]
	}
	return nil
}

// gatherBytes is the size from which a payload is sent from where it lies
// rather than copied beside what surrounds it.
const gatherBytes = 2 << 10

// gatherer puts a message together out of small pieces that it writes and large
// ones that it refers to.
type gatherer struct {
	out  mem.BufferSlice
	run  []byte // what was written and not yet given to out begins at from
	from int
	size int // of everything in out
}

func (g *gatherer) number(n protowire.Number, value uint64) {
	if value != 0 {
		g.run = protowire.AppendVarint(protowire.AppendTag(g.run, n, protowire.VarintType), value)
	}
}

func (g *gatherer) payloads(n protowire.Number, list [][]byte) {
	for _, b := range list {
		g.run = protowire.AppendVarint(protowire.AppendTag(g.run, n, protowire.BytesType), uint64(len(b)))
		g.payload(b)
	}
}

func (g *gatherer) payload(b []byte) {
	if len(b) < gatherBytes {
		g.run = append(g.run, b...)
		return
	}
	g.cut()
	g.refer(b)
}

// cut gives out what was written.
func (g *gatherer) cut() {
	if written := g.run[g.from:]; len(written) > 0 {
		g.refer(written)
		g.from = len(g.run)
	}
}

func (g *gatherer) refer(b []byte) {
	g.out = append(g.out, mem.SliceBuffer(b))
	g.size += len(b)
}

// length is how many bytes the message has so far.
func (g *gatherer) length() int { return g.size + len(g.run) - g.from }

func (g *gatherer) done() mem.BufferSlice {
	g.cut()
	return g.out
}

// OutgoingFrame is a RaftFrame as it is sent, with its messages not yet encoded.
type OutgoingFrame struct {
	Cluster  string
	From, To pinetree.NodeID
	Messages []GroupMessage
}

func (f *OutgoingFrame) gather() mem.BufferSlice {
	body := gatherMessages(f.Messages)
	var head gatherer
	if f.Cluster != "" {
		head.payloads(1, [][]byte{[]byte(f.Cluster)})
	}
	head.number(2, uint64(f.From))
	head.number(3, uint64(f.To))
	head.run = protowire.AppendVarint(protowire.AppendTag(head.run, 4, protowire.BytesType), uint64(body.Len()))
	return append(head.done(), body...)
}

func gatherMessages(messages []GroupMessage) mem.BufferSlice {
	bound := 0
	for _, m := range messages {
		bound += envelopeBytes(m)
	}
	g := gatherer{run: make([]byte, 0, bound)}
	for _, m := range messages {
		g.message(m)
	}
	return g.done()
}

// GatherGroupMessages encodes messages one after the other, as AppendGroupMessage
// does, in pieces of which the large ones are where the messages have them.
func GatherGroupMessages(messages []GroupMessage) [][]byte {
	gathered := gatherMessages(messages)
	pieces := make([][]byte, len(gathered))
	for i, b := range gathered {
		pieces[i] = b.ReadOnlyData()
	}
	return pieces
}
