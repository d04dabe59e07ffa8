package bench

import (
	"encoding/binary"
	"math/rand/v2"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

const (
	// maxRecordBytes leaves a batch room for its header.
	maxRecordBytes = storepb.MaxBatchBytes - 1<<10
	// minRedoBytes is a key put with a value of a few bytes.
	minRedoBytes = 32
	// payloadMemory and maxPayloads bound how many different payloads are made.
	payloadMemory, maxPayloads = 8 << 20, 1024
)

// payloads are those of the load's records, to be shipped over and over.
func (c Config) payloads() ([][]byte, error) {
	if c.WAL == "" {
		return payloads(c.Format, c.RecordBytes)
	}
	ring, err := walPayloads(c.WAL)
	if err != nil {
		return nil, err
	}
	longest := 0
	for _, payload := range ring {
		longest = max(longest, len(payload))
	}
	if c.Mode() == Stream && c.WindowBytes < longest || c.Together*(longest+32) > maxRecordBytes {
		return nil, cli.Usagef("--wal %s: its longest record has %d bytes, which neither --window nor, times --together, a batch of 8 MiB may be less than", c.WAL, longest)
	}
	return ring, nil
}

// payloads makes a ring of payloads that do not compress. Those of format redo
// change one key each, different ones around the ring.
func payloads(format pinetree.Format, bytes int) ([][]byte, error) {
	random := rand.NewChaCha8([32]byte{1})
	ring := make([][]byte, min(max(payloadMemory/bytes, 2), maxPayloads))
	for i := range ring {
		value := make([]byte, bytes)
		// Read of ChaCha8 never fails.
		_, _ = random.Read(value)
		ring[i] = value
		if format != pinetree.FormatRedo {
			continue
		}
		var err error
		if ring[i], err = redoPayload(binary.BigEndian.AppendUint64(nil, uint64(i)), value); err != nil {
			return nil, err
		}
	}
	return ring, nil
}

// redoPayload encodes the put of a key in exactly len(value) bytes, by taking
// less of the value. A few sizes cannot be met: the lengths of the message's
// nested parts jump over them.
func redoPayload(key, value []byte) ([]byte, error) {
	for n := len(value); n >= max(0, len(value)-minRedoBytes); n-- {
		put := &storepb.KeyPut{Key: key, Value: value[:n]}
		encoded, err := proto.Marshal(&storepb.Redo{Ops: []*storepb.RedoOp{{Op: &storepb.RedoOp_KeyPut{KeyPut: put}}}})
		if err != nil || len(encoded) == len(value) {
			return encoded, err
		}
	}
	return nil, cli.Usagef("--record-size %d: no record of format redo has exactly that size; take a byte more", len(value))
}
