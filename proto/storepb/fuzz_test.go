package storepb_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// checkBatch holds a batch that was believed to its own promises. Its records
// either all agree with its header, or Records refuses them.
func checkBatch(t *testing.T, b pinetree.Batch) {
	t.Helper()
	if b.Count < 1 || b.LSN <= b.Prev || b.Size() > storepb.MaxBatchBytes {
		t.Fatalf("believed: %+v", b)
	}
	prev, seen := b.Prev, 0
	var records []pinetree.Record
	err := storepb.Records(b, func(r pinetree.Record) error {
		if r.Prev != prev || r.LSN <= r.Prev || r.LSN > b.LSN {
			t.Fatalf("record (%s, %s] after %s in batch (%s, %s]", r.Prev, r.LSN, prev, b.Prev, b.LSN)
		}
		prev, seen = r.LSN, seen+1
		records = append(records, r)
		return nil
	})
	if err != nil {
		wantCorrupt(t, err, "records")
		return
	}
	if seen != b.Count || prev != b.LSN {
		t.Fatalf("%d records up to %s, the header says %d up to %s", seen, prev, b.Count, b.LSN)
	}
	again, err := storepb.EncodeBatch(b.Volume, b.Term, records)
	if errors.Is(err, pinetree.ErrBadBatch) {
		t.Fatalf("believed records cannot be encoded: %v", err)
	}
	if again.Volume != b.Volume || again.Term != b.Term || again.Prev != b.Prev || again.LSN != b.LSN || again.Count != b.Count {
		t.Fatalf("encoded again: %+v, was %+v", again, b)
	}
}

// FuzzDecodeBatch also seals each input with a right checksum, so that the
// code behind the checksum is reached.
func FuzzDecodeBatch(f *testing.F) {
	f.Add(mustEncode(f, 1, pinetree.Record{Prev: 1, LSN: 9, Payload: []byte("payload")}).Encoded)
	_, small := compressed(f, pinetree.Record{Prev: 1, LSN: 9, Payload: words(300)})
	f.Add(small.Encoded)
	f.Fuzz(func(t *testing.T, data []byte) {
		if b, rest, err := storepb.DecodeBatch(data); err == nil {
			if len(b.Encoded)+len(rest) != len(data) {
				t.Fatalf("%d + %d bytes of %d", len(b.Encoded), len(rest), len(data))
			}
			checkBatch(t, b)
		} else {
			wantCorrupt(t, err, "decode")
		}
		peeked, _, err := storepb.PeekBatch(bytes.Clone(data))
		if err != nil {
			return
		}
		binary.LittleEndian.PutUint32(peeked.Encoded, crc32.Checksum(peeked.Encoded[4:], storepb.Castagnoli))
		sealed, _, err := storepb.DecodeBatch(peeked.Encoded)
		if err != nil {
			t.Fatalf("sealed with its checksum and still refused: %v", err)
		}
		checkBatch(t, sealed)
	})
}

func FuzzDecodeCommand(f *testing.F) {
	b := mustEncode(f, 1, pinetree.Record{Prev: 1, LSN: 9, Payload: []byte("payload")})
	f.Add(storepb.EncodeBatches([]pinetree.Batch{b, b}))
	control, err := storepb.EncodeControl(&storepb.Control{Op: &storepb.Control_Fence{
		Fence: &storepb.Fence{Volume: 7, ComputeTerm: 3, Base: 10},
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(control)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := storepb.DecodeCommand(data)
		if err != nil {
			wantCorrupt(t, err, "decode")
			return
		}
		if c.Control != nil {
			if len(c.Batches) != 0 {
				t.Fatal("batches and a control")
			}
			again, err := storepb.EncodeControl(c.Control)
			if err != nil {
				t.Fatal(err)
			}
			read, err := storepb.DecodeCommand(again)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.Control, read.Control, protocmp.Transform()); diff != "" {
				t.Fatal(diff)
			}
			return
		}
		if len(data) > 0 && !bytes.Equal(storepb.EncodeBatches(c.Batches), data) {
			t.Fatal("the batches encode to other bytes")
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add([]byte{1, 1, 0, 4, 'd', 'a', 't', 'a'})
	f.Fuzz(func(t *testing.T, data []byte) {
		e, rest, err := storepb.DecodeEntry(data)
		if err != nil {
			wantCorrupt(t, err, "decode")
			return
		}
		if !bytes.HasSuffix(data, rest) || !bytes.HasSuffix(data[:len(data)-len(rest)], e.Data) {
			t.Fatal("the entry's data or the rest is not where it was")
		}
		again, left, err := storepb.DecodeEntry(storepb.AppendEntry(nil, e))
		if err != nil || len(left) != 0 {
			t.Fatalf("%v, %d bytes left", err, len(left))
		}
		if diff := cmp.Diff(e, again, protocmp.Transform()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzDecodePosition(f *testing.F) {
	data, err := storepb.EncodePosition(pinetree.Position{Index: 3, Term: 2, Restored: 1, Membership: []byte("m"), Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{
		1: {LSN: 9, Base: 1, Format: pinetree.FormatRedo, Terms: []pinetree.TermStart{{Term: 1, Start: 1}}},
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := storepb.DecodePosition(data)
		if err != nil {
			wantCorrupt(t, err, "decode")
			return
		}
		again, err := storepb.EncodePosition(p)
		if err != nil {
			t.Fatal(err)
		}
		read, err := storepb.DecodePosition(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, read, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}
