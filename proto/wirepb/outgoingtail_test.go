package wirepb

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"
)

func TestOutgoingTailsAreTailResponses(t *testing.T) {
	batches := [][]byte{[]byte("small"), bytes.Repeat([]byte("large"), gatherBytes), {}, []byte("last")}
	for cut := range len(batches) + 1 {
		var pieces [][]byte
		for _, part := range [][][]byte{batches[:cut], batches[cut:]} {
			var piece []byte
			for _, b := range part {
				before := len(piece)
				piece = AppendTailBatch(piece, b)
				if added := len(piece) - before; added != TailBatchBytes(len(b)) {
					t.Errorf("a batch of %d bytes takes %d, said %d", len(b), added, TailBatchBytes(len(b)))
				}
			}
			pieces = append(pieces, piece)
		}
		m := NewOutgoingTail(pieces, 77)
		sent, err := Codec{}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var got TailResponse
		if err := proto.Unmarshal(sent.Materialize(), &got); err != nil {
			t.Fatal(err)
		}
		if want := (&TailResponse{Batches: batches, AppliedLsn: 77}); !proto.Equal(&got, want) || m.Bytes() != proto.Size(want) {
			t.Errorf("cut at %d: %v, %d bytes; want %v", cut, &got, m.Bytes(), want)
		}
	}
}
