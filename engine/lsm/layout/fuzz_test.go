package layout

import (
	"bytes"
	"errors"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

// FuzzPageValue reads the stored changes of a page. What is believed is encoded
// again and must read the same, unless an image hides what came before it.
func FuzzPageValue(f *testing.F) {
	join := func(changes ...Change) []byte { return EncodePage(changes) }
	patch := engine.Op{Kind: engine.PagePatch, Offset: 300, Data: []byte("patched")}
	f.Add(join(Change{LSN: 10, Op: patch}, Change{LSN: 500, Op: patch}), uint64(10), uint64(20))
	f.Add(join(Change{LSN: 10, Op: patch}, Change{LSN: 12, Op: engine.Op{Kind: engine.PageImage, Data: []byte("image")}}), uint64(10), uint64(12))
	f.Fuzz(func(t *testing.T, value []byte, first, at uint64) {
		changes, hasImage, err := DecodePage(value, pinetree.LSN(first), pinetree.LSN(at))
		if err != nil {
			if !errors.Is(err, pinetree.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if hasImage != (len(changes) > 0 && changes[0].Op.Kind == engine.PageImage) {
			t.Fatalf("has an image: %v, and the changes are %+v", hasImage, changes)
		}
		size := 0
		for _, c := range changes {
			if c.LSN > pinetree.LSN(at) {
				t.Fatalf("a change of %s, read at %s", c.LSN, pinetree.LSN(at))
			}
			size += len(c.Op.Data)
		}
		if size > len(value) {
			t.Fatalf("%d bytes of data in a value of %d", size, len(value))
		}
		if len(changes) == 0 {
			return
		}
		again, _, err := DecodePage(join(changes...), changes[0].LSN, pinetree.LSN(at))
		if err != nil || len(again) != len(changes) {
			t.Fatalf("%d changes, read again %d, %v", len(changes), len(again), err)
		}
		if want, got := ReplayPage(nil, changes), ReplayPage(nil, again); !bytes.Equal(want, got) {
			t.Fatal("read again the page differs")
		}
	})
}

// FuzzSnapshotBody reads what a chunk carries, as a restore does.
func FuzzSnapshotBody(f *testing.F) {
	keys := KeysOf(1, 1, 7)
	prefix := len(GenerationKey(DataKey, 1, 1))
	for _, stem := range [][]byte{keys.Batch(9), Version(keys.Page(3), 9), Version(keys.Key([]byte("a\x00b")), 9)} {
		entries, err := AppendValue(nil, stem, []byte("value"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(AppendItem(nil, entries[0].Key[prefix:], entries[0].Value[ChecksumBytes:]))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		logs := NewLogCheck(pinetree.Position{Index: 1, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{7: {LSN: 9}}})
		for len(body) > 0 {
			key, value, rest, err := CutItem(body)
			if err != nil {
				wantDamage(t, err)
				return
			}
			if len(key)+len(value)+len(rest) >= len(body) {
				t.Fatal("an entry holds more than was there")
			}
			at, err := ParseDataKey(key)
			if err != nil {
				wantDamage(t, err)
			} else if err := logs.See(at, value); err != nil {
				wantDamage(t, err)
			}
			body = rest
		}
		if err := logs.End(); err != nil {
			wantDamage(t, err)
		}
	})
}

func wantDamage(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, pinetree.ErrCorrupt) {
		t.Fatalf("%v, want ErrCorrupt", err)
	}
}

// FuzzKeyName writes names into badger's keys and reads them back, and reads
// keys that nobody wrote.
func FuzzKeyName(f *testing.F) {
	f.Add([]byte("plain"), []byte{0, 1})
	f.Add([]byte{0, 0xFF, 0}, []byte{0, 0xFF, 0, 1, 2})
	f.Fuzz(func(t *testing.T, name, raw []byte) {
		keys := KeysOf(1, 1, 7)
		prefix := keys.Kind(KeyKind)
		chunk := append(Version(keys.Key(name), 5), 0)
		stem, got, err := SplitKey(prefix, chunk)
		if err != nil || !bytes.Equal(got, name) || !bytes.Equal(stem, keys.Key(name)) {
			t.Fatalf("name %x came back as %x, %v", name, got, err)
		}
		if lsn, err := VersionLSN(stem, chunk); err != nil || lsn != 5 {
			t.Fatalf("LSN %s, %v", lsn, err)
		}
		stem, got, err = SplitKey(prefix, append(bytes.Clone(prefix), raw...))
		if err != nil {
			wantDamage(t, err)
			return
		}
		if !bytes.Equal(stem, keys.Key(got)) {
			t.Fatalf("the key %x is believed to be of name %x, which is written %x", raw, got, keys.Key(got))
		}
	})
}

// FuzzStoredChunk opens the chunk of a value.
func FuzzStoredChunk(f *testing.F) {
	entries, err := AppendValue(nil, []byte("stem"), []byte("value"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(entries[0].Key, entries[0].Value)
	f.Fuzz(func(t *testing.T, key, raw []byte) {
		if body, chunks, err := OpenChunk(key, raw); err != nil {
			wantDamage(t, err)
		} else if len(body)+ChunkHeaderBytes != len(raw) || chunks < 1 {
			t.Fatalf("%d chunks, %d bytes of %d", chunks, len(body), len(raw))
		}
		if len(raw) > ChecksumBytes {
			sealed := SealChunk(key, raw[ChecksumBytes:])
			if _, _, err := OpenChunk(key, sealed.Value); (err == nil) != (raw[ChecksumBytes] > 0) {
				t.Fatalf("sealed with its checksum, for %d chunks: %v", raw[ChecksumBytes], err)
			}
		}
	})
}
