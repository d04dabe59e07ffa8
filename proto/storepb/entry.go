package storepb

import (
	"encoding/binary"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
)

// The encoded raft entry, the same on the wire and on disk: uvarint index,
// uvarint raft term, one byte type, uvarint length, data. It carries no
// checksum: the frame or batch around it does.

// AppendEntry appends the encoded form of e to buf.
func AppendEntry(buf []byte, e *raftpb.Entry) []byte {
	return append(AppendEntryHead(buf, e), e.Data...)
}

// AppendEntryHead appends the part of e's encoded form that comes before its
// data, for callers that write the data from where it lies.
func AppendEntryHead(buf []byte, e *raftpb.Entry) []byte {
	buf = binary.AppendUvarint(buf, e.GetIndex())
	buf = binary.AppendUvarint(buf, e.GetTerm())
	buf = append(buf, byte(e.GetType()))
	return binary.AppendUvarint(buf, uint64(len(e.Data)))
}

// EntryHeadBytes is an upper bound of what AppendEntryHead appends.
const EntryHeadBytes = 3*binary.MaxVarintLen64 + 1

// EntryBytes is an upper bound of what AppendEntry will append.
func EntryBytes(e *raftpb.Entry) int { return EntryHeadBytes + len(e.Data) }

// DecodeEntry reads the entry at the start of buf and returns what follows it.
// The entry's data shares buf's memory.
func DecodeEntry(buf []byte) (e *raftpb.Entry, rest []byte, err error) {
	index, n := binary.Uvarint(buf)
	if n <= 0 {
		return nil, nil, corruptEntry("index")
	}
	buf = buf[n:]
	term, n := binary.Uvarint(buf)
	if n <= 0 || len(buf) == n {
		return nil, nil, corruptEntry("raft term")
	}
	kind := raftpb.EntryType(buf[n])
	if _, known := raftpb.EntryType_name[int32(kind)]; !known {
		return nil, nil, corruptEntry("type")
	}
	buf = buf[n+1:]
	length, n := binary.Uvarint(buf)
	if n <= 0 || length > uint64(len(buf)-n) {
		return nil, nil, corruptEntry("length")
	}
	buf = buf[n:]
	e = &raftpb.Entry{Index: &index, Term: &term, Type: &kind}
	if length > 0 {
		e.Data = buf[:length:length]
	}
	return e, buf[length:], nil
}

func corruptEntry(what string) error {
	return &pinetree.CorruptError{Where: "raft entry", What: "bad " + what}
}
