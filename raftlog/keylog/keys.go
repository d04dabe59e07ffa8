package keylog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/raftlog"
)

const (
	formatVersion = 1
	keyFormat     = 'f'
	keyProbe      = 'p'
	keyState      = 's'
	keyEntry      = 'e'

	stateKeyBytes = 1 + 8
	entryKeyBytes = 1 + 8 + 8 + 4
	// pieceBytes is what one value of an entry has at most: databases take
	// values of some hundred KiB well, and not all take larger ones.
	pieceBytes = 256 << 10
)

func stateKey(group pinetree.GroupID) []byte {
	return binary.BigEndian.AppendUint64([]byte{keyState}, uint64(group))
}

// entryKey is the key of an entry's piece, and below all those of later ones.
func entryKey(group pinetree.GroupID, index uint64, piece uint32) []byte {
	key := make([]byte, 0, entryKeyBytes)
	key = binary.BigEndian.AppendUint64(append(key, keyEntry), uint64(group))
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(key, index), piece)
}

// entryRange are the keys of a span of a group's entries.
func entryRange(group pinetree.GroupID, which span) (from, to []byte) {
	return entryKey(group, which.lo, 0), entryKey(group, which.hi, 0)
}

func readEntryKey(key []byte) (group pinetree.GroupID, index uint64, piece uint32, ok bool) {
	if len(key) != entryKeyBytes || key[0] != keyEntry {
		return 0, 0, 0, false
	}
	be := binary.BigEndian
	return pinetree.GroupID(be.Uint64(key[1:])), be.Uint64(key[9:]), be.Uint32(key[17:]), true
}

func readStateKey(key []byte) (group pinetree.GroupID, ok bool) {
	if len(key) != stateKeyBytes || key[0] != keyState {
		return 0, false
	}
	return pinetree.GroupID(binary.BigEndian.Uint64(key[1:])), true
}

// seal fills in the checksum that a value begins with.
func seal(key, value []byte) []byte {
	binary.LittleEndian.PutUint32(value, checksum(key, value[4:]))
	return value
}

func checksum(key, rest []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, storepb.Castagnoli), storepb.Castagnoli, rest)
}

// unseal checks a value and returns what comes after its checksum.
func unseal(key, value []byte) ([]byte, error) {
	if len(value) < 4 || binary.LittleEndian.Uint32(value) != checksum(key, value[4:]) {
		return nil, corrupt(key, "the value fails its checksum")
	}
	return value[4:], nil
}

func corrupt(key []byte, what string) error {
	return &pinetree.CorruptError{Where: fmt.Sprintf("key %x", key), What: what}
}

// hardState is raft's, without its pointers.
type hardState struct{ term, vote, commit uint64 }

func appendState(buf []byte, h hardState, start raftlog.Point) []byte {
	for _, n := range []uint64{h.term, h.vote, h.commit, uint64(start.Index), uint64(start.Term)} {
		buf = binary.AppendUvarint(buf, n)
	}
	return buf
}

func readState(rest []byte) (h hardState, start raftlog.Point, ok bool) {
	var numbers [5]uint64
	for i := range numbers {
		n, size := binary.Uvarint(rest)
		if size <= 0 {
			return h, start, false
		}
		numbers[i], rest = n, rest[size:]
	}
	h = hardState{numbers[0], numbers[1], numbers[2]}
	start = raftlog.Point{Index: pinetree.RaftIndex(numbers[3]), Term: pinetree.RaftTerm(numbers[4])}
	return h, start, len(rest) == 0
}

// appendEntry appends the changes that write an entry.
func appendEntry(changes []Change, group pinetree.GroupID, e *raftpb.Entry) []Change {
	data := e.Data
	for piece := uint32(0); piece == 0 || len(data) > 0; piece++ {
		key := entryKey(group, e.GetIndex(), piece)
		n := min(len(data), pieceBytes)
		value := make([]byte, 4, 4+binary.MaxVarintLen64+1+n)
		value = binary.AppendUvarint(value, e.GetTerm())
		value = append(append(value, byte(e.GetType())), data[:n]...)
		data = data[n:]
		changes = append(changes, Change{Key: key, Value: seal(key, value)})
	}
	return changes
}

// readPiece reads what appendEntry wrote. The data shares rest's memory.
func readPiece(rest []byte) (term uint64, kind raftpb.EntryType, data []byte, ok bool) {
	term, n := binary.Uvarint(rest)
	if n <= 0 || len(rest) == n || raftpb.EntryType_name[int32(rest[n])] == "" {
		return 0, 0, nil, false
	}
	return term, raftpb.EntryType(rest[n]), rest[n+1:], true
}
