package engine_test

import (
	"errors"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/meta"
)

// metadataOf is the metadata after some transactions, and the position that says so.
func metadataOf(t testing.TB, txns ...meta.Txn) (engine.Metadata, pinetree.Position) {
	t.Helper()
	m, at := engine.Metadata{}, pinetree.Position{Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{3: {}}}
	for _, x := range txns {
		at.Index++
		delta, _, err := meta.Evaluate(m.Table(3), meta.Proposal{Txn: x, Index: at.Index})
		if err != nil {
			t.Fatal(err)
		}
		table, _, err := m.Table(3).Advance(delta)
		if err != nil {
			t.Fatal(err)
		}
		m = engine.Metadata{3: table}
		at.Volumes[3] = pinetree.VolumePosition{MetaRevision: table.Revision(), MetaCompacted: table.Compacted(), MetaBytes: table.Bytes()}
	}
	return m, at
}

func sampleMetadata(t testing.TB) (engine.Metadata, pinetree.Position) {
	put := meta.Op{Kind: meta.OpPut, Span: meta.Span{Key: []byte("key")}, Value: []byte("value")}
	return metadataOf(t, meta.Txn{Then: []meta.Op{put}, ID: []byte("id")}, meta.Txn{Then: []meta.Op{put}})
}

func TestLoadedMetadataIsWhatThePositionSays(t *testing.T) {
	m, at := sampleMetadata(t)
	data, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*pinetree.VolumePosition){
		"nothing":           func(*pinetree.VolumePosition) {},
		"another revision":  func(v *pinetree.VolumePosition) { v.MetaRevision = 1 },
		"more compaction":   func(v *pinetree.VolumePosition) { v.MetaCompacted = 2 },
		"a wrong number":    func(v *pinetree.VolumePosition) { v.MetaBytes++ },
		"compacted too far": func(v *pinetree.VolumePosition) { v.MetaCompacted = 9 },
	} {
		at := at.Clone()
		v := at.Volumes[3]
		spoil(&v)
		at.Volumes[3] = v
		var loader engine.MetaLoader
		rest, err := loader.Take(append(data[:len(data):len(data)], "rest"...))
		if err != nil || string(rest) != "rest" {
			t.Fatalf("rest %q, %v", rest, err)
		}
		loaded, _, err := loader.Load(at)
		if name != "nothing" {
			if !errors.Is(err, pinetree.ErrCorrupt) {
				t.Errorf("%s: %v, want ErrCorrupt", name, err)
			}
			continue
		}
		a, errA := loaded.Append(nil)
		if err != nil || errA != nil || string(a) != string(data) {
			t.Errorf("loaded %x, %v, %v; want %x", a, err, errA, data)
		}
	}
}

// FuzzMetaLoader loads anything. What is taken is what the position says, and is
// the same when it is stored and loaded once more.
func FuzzMetaLoader(f *testing.F) {
	m, at := sampleMetadata(f)
	data, err := m.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	v := at.Volumes[3]
	f.Add(data, uint64(v.MetaRevision), uint64(v.MetaCompacted), v.MetaBytes)
	f.Add(data, uint64(v.MetaRevision), uint64(v.MetaRevision), v.MetaBytes/2)
	f.Fuzz(func(t *testing.T, data []byte, revision, compacted uint64, bytes int64) {
		at := pinetree.Position{Index: 9, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{
			3: {MetaRevision: pinetree.MetaRevision(revision), MetaCompacted: pinetree.MetaRevision(compacted), MetaBytes: bytes},
		}}
		load := func(data []byte) ([]byte, error) {
			var loader engine.MetaLoader
			if _, err := loader.Take(data); err != nil {
				return nil, err
			}
			m, _, err := loader.Load(at)
			if err != nil {
				return nil, err
			}
			if table := m.Table(3); table.Bytes() != bytes {
				t.Fatalf("loaded %d bytes, the position says %d", table.Bytes(), bytes)
			}
			return m.Append(nil)
		}
		once, err := load(data)
		if err != nil {
			if !errors.Is(err, pinetree.ErrCorrupt) {
				t.Fatalf("%v, want ErrCorrupt", err)
			}
			return
		}
		if twice, err := load(once); err != nil || string(twice) != string(once) {
			t.Fatalf("stored %x, %v; want %x", twice, err, once)
		}
	})
}
