package keylog

import (
	"bytes"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree/raftlog"
)

// FuzzKeysAndValues gives the decoders any key and any value.
func FuzzKeysAndValues(f *testing.F) {
	f.Add(stateKey(7), seal(stateKey(7), appendState(make([]byte, 4), hardState{3, 1, 2}, raftlog.Point{Index: 4, Term: 2})))
	index, term, kind := uint64(9), uint64(3), raftpb.EntryConfChangeV2
	for _, c := range appendEntry(nil, 7, &raftpb.Entry{Index: &index, Term: &term, Type: &kind, Data: []byte("data")}) {
		f.Add(c.Key, c.Value)
	}
	f.Add([]byte{keyEntry}, []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if group, index, piece, ok := readEntryKey(key); ok && !bytes.Equal(entryKey(group, index, piece), key) {
			t.Errorf("key %x is read as entry %d of group %d, piece %d", key, index, group, piece)
		}
		if group, ok := readStateKey(key); ok && !bytes.Equal(stateKey(group), key) {
			t.Errorf("key %x is read as the state of group %d", key, group)
		}
		rest, err := unseal(key, value)
		if err == nil && !bytes.Equal(seal(key, append(make([]byte, 4), rest...)), value) {
			t.Errorf("value %x of key %x is read as %x", value, key, rest)
		}
		checkDecoders(t, value)
	})
}

func checkDecoders(t *testing.T, rest []byte) {
	if h, start, ok := readState(rest); ok {
		again, startAgain, ok := readState(appendState(nil, h, start))
		if !ok || again != h || startAgain != start {
			t.Errorf("state %v, %v came back as %v, %v", h, start, again, startAgain)
		}
	}
	if term, kind, data, ok := readPiece(rest); ok {
		index := uint64(1)
		c := appendEntry(nil, 1, &raftpb.Entry{Index: &index, Term: &term, Type: &kind, Data: data})
		gotTerm, gotKind, gotData, ok := readPiece(c[0].Value[4:])
		if !ok || gotTerm != term || gotKind != kind || !bytes.HasPrefix(data, gotData) {
			t.Errorf("piece %d %v %x came back as %d %v %x", term, kind, data, gotTerm, gotKind, gotData)
		}
	}
}
