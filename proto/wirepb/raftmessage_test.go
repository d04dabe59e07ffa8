package wirepb

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
)

// drawMessage makes any message of a type that travels, with any of its fields
// set or not.
func drawMessage(t *rapid.T) GroupMessage {
	kinds := []raftpb.MessageType{}
	for kind := range raftpb.MessageType_name {
		if Travels(raftpb.MessageType(kind)) {
			kinds = append(kinds, raftpb.MessageType(kind))
		}
	}
	kind := rapid.SampledFrom(kinds).Draw(t, "type")
	m := &raftpb.Message{Type: &kind}
	for _, number := range messageNumbers(m) {
		*number = rapid.Ptr(rapid.Uint64(), true).Draw(t, "number")
	}
	m.Reject = rapid.Ptr(rapid.Bool(), true).Draw(t, "reject")
	if rapid.Bool().Draw(t, "has context") {
		m.Context = rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "context")
	}
	for range rapid.IntRange(0, 4).Draw(t, "entries") {
		m.Entries = append(m.Entries, drawEntry(t))
	}
	if rapid.Bool().Draw(t, "has snapshot") {
		m.Snapshot = &raftpb.Snapshot{
			Data: rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "data"),
			Metadata: &raftpb.SnapshotMetadata{
				Index: rapid.Ptr(rapid.Uint64(), true).Draw(t, "snapshot index"), Term: rapid.Ptr(rapid.Uint64(), true).Draw(t, "snapshot term"),
				ConfState: &raftpb.ConfState{Voters: rapid.SliceOfN(rapid.Uint64(), 1, 3).Draw(t, "voters"), AutoLeave: new(rapid.Bool().Draw(t, "auto leave"))},
			},
		}
	}
	return GroupMessage{
		Group: pinetree.GroupID(rapid.Uint64().Draw(t, "group")), Message: m,
		Floor: pinetree.RaftIndex(rapid.Uint64().Draw(t, "floor")),
	}
}

// drawEntry makes an entry as raft sends it: index, raft term and type are set.
func drawEntry(t *rapid.T) *raftpb.Entry {
	kind := raftpb.EntryType(rapid.IntRange(0, 2).Draw(t, "entry type"))
	e := &raftpb.Entry{Index: new(rapid.Uint64().Draw(t, "index")), Term: new(rapid.Uint64().Draw(t, "term")), Type: &kind}
	if data := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "entry data"); len(data) > 0 {
		e.Data = data
	}
	return e
}

func TestRaftMessagesAreEqualAfterTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sent []GroupMessage
		var buf []byte
		for range rapid.IntRange(0, 4).Draw(t, "messages") {
			m := drawMessage(t)
			before := len(buf)
			buf = AppendGroupMessage(buf, m)
			if bound := GroupMessageBytes(m); len(buf)-before > bound {
				t.Fatalf("%d bytes, the bound was %d", len(buf)-before, bound)
			}
			sent = append(sent, m)
		}
		var received []GroupMessage
		if err := DecodeGroupMessages(buf, func(m GroupMessage) error {
			received = append(received, m)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(sent) != len(received) {
			t.Fatalf("sent %d messages, received %d", len(sent), len(received))
		}
		for i := range sent {
			if sent[i].Group != received[i].Group || !proto.Equal(sent[i].Message, received[i].Message) {
				t.Fatalf("sent\n%v\nreceived\n%v", sent[i], received[i])
			}
		}
	})
}

// TestEveryFieldOfARaftMessageIsKnown fails when a new release of raft adds a
// field that the encoding would lose.
func TestEveryFieldOfARaftMessageIsKnown(t *testing.T) {
	known := map[string]bool{
		"type": true, "to": true, "from": true, "term": true, "logTerm": true, "index": true, "entries": true, "commit": true,
		"vote": true, "snapshot": true, "reject": true, "rejectHint": true, "context": true, "responses": true,
	}
	fields := (&raftpb.Message{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if name := string(fields.Get(i).Name()); !known[name] {
			t.Errorf("raftpb.Message has a field %q that the encoding does not carry", name)
		}
	}
	entryFields := (&raftpb.Entry{}).ProtoReflect().Descriptor().Fields()
	if entryFields.Len() != 4 {
		t.Errorf("raftpb.Entry has %d fields, the encoding carries 4", entryFields.Len())
	}
	if len(raftpb.MessageType_name) != 24 {
		t.Errorf("raft has %d message types; decide in Travels which of the new ones are for other nodes", len(raftpb.MessageType_name))
	}
}

func TestAMessageToOneselfIsRefusedFromThePeer(t *testing.T) {
	for kind := range raftpb.MessageType_name {
		kind := raftpb.MessageType(kind)
		buf := AppendGroupMessage(nil, GroupMessage{Group: 1, Message: &raftpb.Message{Type: &kind}})
		err := DecodeGroupMessages(buf, func(GroupMessage) error { return nil })
		if Travels(kind) != (err == nil) || err != nil && !errors.Is(err, pinetree.ErrCorrupt) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestEveryCutOfAMessageIsRefused(t *testing.T) {
	whole := AppendGroupMessage(nil, benchmarkMessage(3))
	for n := range whole {
		if n == 0 {
			continue
		}
		err := DecodeGroupMessages(whole[:n], func(GroupMessage) error { return nil })
		if !errors.Is(err, pinetree.ErrCorrupt) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func TestDecodingStopsWithTheCallersError(t *testing.T) {
	buf := AppendGroupMessage(AppendGroupMessage(nil, benchmarkMessage(1)), benchmarkMessage(1))
	stop, calls := errors.New("stop"), 0
	err := DecodeGroupMessages(buf, func(GroupMessage) error { calls++; return stop })
	if err != stop || calls != 1 {
		t.Fatalf("%d calls, error %v", calls, err)
	}
}

func FuzzDecodeGroupMessages(f *testing.F) {
	f.Add(AppendGroupMessage(nil, GroupMessage{Group: 300, Message: &raftpb.Message{
		Type: raftpb.MsgApp.Enum(), To: new(uint64(2)), From: new(uint64(1)), Term: new(uint64(7)),
		Entries: []*raftpb.Entry{{Index: new(uint64(8)), Term: new(uint64(7)), Data: []byte("data")}, {Index: new(uint64(9))}},
	}}))
	f.Add(AppendGroupMessage(nil, GroupMessage{Group: 1, Message: &raftpb.Message{
		Type: raftpb.MsgSnap.Enum(), Context: []byte("c"), Reject: new(true),
		Snapshot: &raftpb.Snapshot{Data: []byte("manifest"), Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(5))}},
	}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var again []byte
		var first []GroupMessage
		err := DecodeGroupMessages(data, func(m GroupMessage) error {
			again, first = AppendGroupMessage(again, m), append(first, m)
			return nil
		})
		if err != nil && !errors.Is(err, pinetree.ErrCorrupt) {
			t.Fatalf("an error of another kind: %v", err)
		}
		i := 0
		if err := DecodeGroupMessages(again, func(m GroupMessage) error {
			if m.Group != first[i].Group || !proto.Equal(m.Message, first[i].Message) {
				t.Fatalf("%v became %v", first[i], m)
			}
			i++
			return nil
		}); err != nil || i != len(first) {
			t.Fatalf("%d of %d messages, %v", i, len(first), err)
		}
	})
}

func TestDecodedEntriesShareTheFrame(t *testing.T) {
	buf := AppendGroupMessage(nil, benchmarkMessage(1))
	err := DecodeGroupMessages(buf, func(m GroupMessage) error {
		at := bytes.Index(buf, m.Message.Entries[0].Data)
		buf[at] ^= 0xff
		if !reflect.DeepEqual(buf[at:at+8], m.Message.Entries[0].Data[:8]) {
			t.Error("the entry's data was copied")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// benchmarkMessage is an append of entries of 1 KiB.
func benchmarkMessage(entries int) GroupMessage {
	m := &raftpb.Message{
		Type: raftpb.MsgApp.Enum(), To: new(uint64(2)), From: new(uint64(1)), Term: new(uint64(7)),
		LogTerm: new(uint64(7)), Index: new(uint64(1_000_000)), Commit: new(uint64(999_990)),
	}
	for i := range entries {
		m.Entries = append(m.Entries, &raftpb.Entry{
			Index: new(uint64(1_000_001 + i)), Term: new(uint64(7)), Type: raftpb.EntryNormal.Enum(), Data: bytes.Repeat([]byte{byte(i + 1)}, 1024),
		})
	}
	return GroupMessage{Group: 12, Message: m}
}

// Napkin: 64 KiB at some 10 GB/s of copying is 7 µs, once to encode, nothing
// to decode; decoding makes four small objects per entry, some 10 µs.
func BenchmarkRaftMessage64Entries(b *testing.B) {
	m := benchmarkMessage(64)
	encoded := AppendGroupMessage(nil, m)
	asProto, err := proto.Marshal(m.Message)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(encoded)))
		var buf []byte
		for b.Loop() {
			buf = AppendGroupMessage(buf[:0], m)
		}
	})
	b.Run("encode/proto", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(asProto)))
		var buf []byte
		for b.Loop() {
			buf, _ = proto.MarshalOptions{}.MarshalAppend(buf[:0], m.Message)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(encoded)))
		for b.Loop() {
			if err := DecodeGroupMessages(encoded, func(GroupMessage) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode/proto", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(asProto)))
		for b.Loop() {
			if err := proto.Unmarshal(asProto, &raftpb.Message{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
