package wirepb

import (
	"bytes"
	"slices"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// received is an encoded message as gRPC hands it over: in pieces, in memory
// that is used again as soon as Unmarshal has returned.
func received(encoded []byte) (data mem.BufferSlice, reuse func()) {
	lent := bytes.Clone(encoded)
	for piece := range slices.Chunk(lent, 1000) {
		data = append(data, mem.SliceBuffer(piece))
	}
	return data, func() { clear(lent) }
}

func TestPayloadMessagesAreProtobufOnTheWire(t *testing.T) {
	small, large := []byte("small"), bytes.Repeat([]byte("large"), gatherBytes)
	for _, m := range []proto.Message{
		&ShipRequest{},
		&ShipRequest{Volume: 7, ComputeTerm: 1 << 40},
		&ShipRequest{Volume: 1, Batches: [][]byte{small, large, {}, small, large, large}},
		&TailResponse{AppliedLsn: 9, Batches: [][]byte{large, small}},
		&RaftFrame{Cluster: "c", From: 1, To: 300, Messages: large},
		&PageResponse{},
		&PageResponse{Served: &Served{Lsn: 1 << 40, Level: ReadLevel_CONSISTENT, Node: 3, StaleMs: proto.Uint32(0)}, Page: large, PageLsn: 5},
		&PageResponse{Served: &Served{}, Page: small},
		&PagesResponse{Served: &Served{Lsn: 9}, Pages: []*PageOf{{Found: true, Page: large, PageLsn: 300}, {}, {Found: true, Page: small}, {Found: true}, {PageLsn: 1}}},
		&Answer{},
		&Answer{Of: &Answer_Failed{Failed: small}},
		&Answer{Of: &Answer_Page{Page: &PageResponse{Served: &Served{Lsn: 9}, Page: large, PageLsn: 300}}},
		&Answer{Of: &Answer_Page{Page: &PageResponse{}}},
		&Answer{Of: &Answer_Pages{Pages: &PagesResponse{Served: &Served{Lsn: 9}, Pages: []*PageOf{{Found: true, Page: large}, {}}}}},
		&Answer{Of: &Answer_Key{Key: &KeyResponse{Served: &Served{Lsn: 9}, Value: small}}},
	} {
		standard, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		data, reuse := received(standard)
		got := m.ProtoReflect().New().Interface()
		if err := (Codec{}).Unmarshal(data, got); err != nil {
			t.Fatal(err)
		}
		reuse()
		if !proto.Equal(got, m) {
			t.Errorf("%T read as\n%v, want\n%v", m, got, m)
		}
		sent, err := Codec{}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		back := m.ProtoReflect().New().Interface()
		if err := proto.Unmarshal(sent.Materialize(), back); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(back, m) {
			t.Errorf("%T sent as\n%v, want\n%v", m, back, m)
		}
	}
}

func TestOutgoingFramesAreRaftFrames(t *testing.T) {
	messages := []GroupMessage{benchmarkMessage(3), benchmarkMessage(0), benchmarkMessage(1)}
	messages[0].Message.Entries[1].Data = bytes.Repeat([]byte{7}, 3*gatherBytes)
	sent, err := Codec{}.Marshal(&OutgoingFrame{Cluster: "c", From: 2, To: 3, Messages: messages})
	if err != nil {
		t.Fatal(err)
	}
	frame := &RaftFrame{}
	if err := proto.Unmarshal(sent.Materialize(), frame); err != nil {
		t.Fatal(err)
	}
	want := &RaftFrame{Cluster: "c", From: 2, To: 3}
	for _, m := range messages {
		want.Messages = AppendGroupMessage(want.Messages, m)
	}
	if !proto.Equal(frame, want) {
		t.Error("the frame differs from one with the same messages encoded one by one")
	}
	n := 0
	err = DecodeGroupMessages(frame.Messages, func(m GroupMessage) error {
		if !proto.Equal(m.Message, messages[n].Message) {
			t.Errorf("message %d is read as %v, want %v", n, m.Message, messages[n].Message)
		}
		n++
		return nil
	})
	if err != nil || n != len(messages) {
		t.Errorf("%d messages read: %v", n, err)
	}
}

// FuzzCodec compares the short way with generated code on bytes from anywhere.
func FuzzCodec(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x08, 0x07, 0x1a, 0x01, 0x05, 0x10, 0x01})
	f.Add([]byte{0x0d, 1, 2, 3, 4, 0x1a, 0x00})
	f.Add([]byte{0x1a, 0xff})
	f.Fuzz(func(t *testing.T, encoded []byte) {
		standard, short := &ShipRequest{}, &ShipRequest{}
		wanted := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(encoded, standard)
		data, reuse := received(encoded)
		got := Codec{}.Unmarshal(data, short)
		reuse()
		if (wanted == nil) != (got == nil) {
			t.Fatalf("generated code says %v, the codec %v", wanted, got)
		}
		if wanted == nil && !proto.Equal(standard, short) {
			t.Fatalf("read as\n%v, want\n%v", short, standard)
		}
	})
}

// FuzzAnswers reads what nodes answer with pages: whatever can be read is, once it
// is written again, the same to generated code.
func FuzzAnswers(f *testing.F) {
	for _, m := range []proto.Message{
		&Answer{Of: &Answer_Page{Page: &PageResponse{Served: &Served{Lsn: 9}, Page: []byte("page"), PageLsn: 300}}},
		&Answer{Of: &Answer_Pages{Pages: &PagesResponse{Served: &Served{Lsn: 9}, Pages: []*PageOf{{Found: true, Page: []byte("page")}, {}}}}},
		&Answer{Of: &Answer_Failed{Failed: []byte{1}}},
		&PagesResponse{Pages: []*PageOf{{Found: true, PageLsn: 1}}},
		&Answer{Of: &Answer_Key{Key: &KeyResponse{Value: []byte("value"), KeyLsn: 300}}},
	} {
		encoded, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	f.Add([]byte{0x12, 0x00, 0x12, 0x02, 0x30, 0x30}) // a page in two parts, one with a field 6
	f.Fuzz(func(t *testing.T, encoded []byte) {
		for _, m := range []proto.Message{&Answer{}, &PageResponse{}, &PagesResponse{}} {
			data, reuse := received(encoded)
			err := Codec{}.Unmarshal(data, m)
			reuse()
			if err != nil {
				continue
			}
			again, err := Codec{}.Marshal(m)
			if err != nil {
				t.Fatalf("%T was read and cannot be written: %v", m, err)
			}
			back := m.ProtoReflect().New().Interface()
			if err := proto.Unmarshal(again.Materialize(), back); err != nil || !proto.Equal(m, back) {
				t.Fatalf("%T came back as\n%v, was\n%v: %v", m, back, m, err)
			}
		}
	})
}
