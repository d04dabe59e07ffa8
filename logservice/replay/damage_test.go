package replay_test

import (
	"errors"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Memory may have damaged a batch since it came in. What its header says of the
// order would be believed, and what follows be taken for replayed.
func TestADamagedBatchStopsTheReplica(t *testing.T) {
	entries := chain(t)
	data := entries[1].Data
	for bit := range 8 * len(data) {
		r := &replica{position: pinetree.Position{Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{
			1: {Format: pinetree.FormatOpaque, LSN: 5, Terms: []pinetree.TermStart{{Term: 3}}},
		}}}
		data[bit/8] ^= 1 << (bit % 8)
		if err := r.replay(entries...); !errors.Is(err, pinetree.ErrCorrupt) {
			t.Errorf("byte %d, bit %d: %v, want ErrCorrupt", bit/8, bit%8, err)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
}

// chain are three entries with a batch each, which follow on each other.
func chain(t *testing.T) (entries []*raftpb.Entry) {
	at := pinetree.LSN(5)
	for i := range uint64(3) {
		b, err := storepb.EncodeBatch(1, 3, []pinetree.Record{{Prev: at, LSN: at + 4, Payload: []byte("redo")}})
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, &raftpb.Entry{Index: proto.Uint64(i + 1), Term: proto.Uint64(1), Data: storepb.EncodeBatches([]pinetree.Batch{b})})
		at += 4
	}
	return entries
}
