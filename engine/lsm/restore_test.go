package lsm

import (
	"bytes"
	"errors"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/drops"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// chunksOf takes a snapshot of group 1.
func chunksOf(t *testing.T, s *Store) (at pinetree.Position, chunks [][]byte, err error) {
	t.Helper()
	snapshot, err := s.Snapshot(1)
	if err != nil {
		t.Fatal(err)
	}
	err = snapshot.Chunks(func(chunk []byte) error {
		chunks = append(chunks, bytes.Clone(chunk))
		return nil
	})
	return snapshot.Position(), chunks, err
}

// TestARestoreThatACrashEndedIsDeleted ends the store after each chunk, as a
// crash would, and before and after the commit.
func TestARestoreThatACrashEndedIsDeleted(t *testing.T) {
	onEach(t, testARestoreThatACrashEndedIsDeleted)
}

func testARestoreThatACrashEndedIsDeleted(t *testing.T, k kind) {
	source := k.open(t, t.TempDir())
	if err := openGroup(t, source).Apply(bigWrite(t, 9, 0, 3)); err != nil {
		t.Fatal(err)
	}
	at, chunks, err := chunksOf(t, source)
	if err != nil || len(chunks) < 4 {
		t.Fatalf("%d chunks, %v, the test wants more", len(chunks), err)
	}
	dir := t.TempDir()
	s := k.open(t, dir)
	g := openGroup(t, s)
	if err := g.Apply(bigWrite(t, 1, 0, 1)); err != nil {
		t.Fatal(err)
	}
	flush(t, g)
	for written := 0; written <= len(chunks)+1; written++ {
		r, err := s.Restore(1, at)
		if err != nil {
			t.Fatal(err)
		}
		for _, chunk := range chunks[:min(written, len(chunks))] {
			if err := r.Write(chunk); err != nil {
				t.Fatal(err)
			}
		}
		s.dropper.kick() // it must not touch what is being restored
		want := pinetree.LSN(1)
		if written > len(chunks) {
			if err := r.Commit(); err != nil {
				t.Fatal(err)
			}
			want = 3
		}
		closeStore(t, s)
		s = k.open(t, dir)
		wantDropped(t, s)
		if g := openGroup(t, s); logEnd(t, g, 1) != want || g.Position().Volumes[2].LSN != want {
			t.Fatalf("after %d chunks and a restart the log ends at %s, the position is %v, want %s", written, logEnd(t, g, 1), g.Position(), want)
		}
		if err := s.Verify(); err != nil {
			t.Fatalf("after %d chunks: %v", written, err)
		}
	}
}

// TestAHoleInTheLogIsNeitherSentNorRestored deletes each key of the log in
// turn, which no checksum tells.
func TestAHoleInTheLogIsNeitherSentNorRestored(t *testing.T) {
	onEach(t, testAHoleInTheLogIsNeitherSentNorRestored)
}

func testAHoleInTheLogIsNeitherSentNorRestored(t *testing.T, k kind) {
	s := k.open(t, t.TempDir())
	g := openGroup(t, s)
	if err := g.Apply(bigWrite(t, 1, 0, 2)); err != nil {
		t.Fatal(err)
	}
	if err := g.Apply(smallWrite(t, g)); err != nil {
		t.Fatal(err)
	}
	at, chunks, err := chunksOf(t, s)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := drops.Deletions(s.db, layout.GenerationKey(layout.DataKey, 1, g.state.Load().generation))
	if err != nil || len(keys) < 11 {
		t.Fatalf("%d keys, %v, the test wants more", len(keys), err)
	}
	for _, gone := range keys {
		var kept []entry
		err := s.db.Scan(gone.Key, func(it sorted.Iterator) error {
			it.Seek(nil)
			return it.Value(func(value []byte) error {
				kept = []entry{{Key: gone.Key, Value: bytes.Clone(value)}}
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.commit([]entry{gone}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := chunksOf(t, s); !errors.Is(err, pinetree.ErrCorrupt) {
			t.Fatalf("without key %x the snapshot says %v, want ErrCorrupt", gone.Key, err)
		}
		if err := s.Verify(); !errors.Is(err, pinetree.ErrCorrupt) {
			t.Fatalf("without key %x Verify says %v, want ErrCorrupt", gone.Key, err)
		}
		if err := s.commit(kept); err != nil {
			t.Fatal(err)
		}
	}
	wantHolesRefused(t, s, at, chunks)
}

// smallWrite adds three batches of one chunk each, in a volume of their own.
func smallWrite(t *testing.T, g *group) engine.Write {
	t.Helper()
	w := engine.Write{Position: g.Position().Clone()}
	w.Position.Index++
	for lsn := range pinetree.LSN(3) {
		b, err := storepb.EncodeBatch(3, 1, []pinetree.Record{{Prev: lsn, LSN: lsn + 1, Payload: make([]byte, 2000)}})
		if err != nil {
			t.Fatal(err)
		}
		w.Batches = append(w.Batches, b)
	}
	w.Position.Volumes[3] = pinetree.VolumePosition{LSN: 3, Format: pinetree.FormatOpaque}
	return w
}

// wantHolesRefused leaves out one entry of one chunk after the other, as a
// sender without the check would.
func wantHolesRefused(t *testing.T, s *Store, at pinetree.Position, chunks [][]byte) {
	t.Helper()
	for hole := range chunks[:len(chunks)-1] {
		sent := rewriteChunks(t, s.traits.Name, at, chunks, hole)
		r, err := s.Restore(2, at)
		if err != nil {
			t.Fatal(err)
		}
		for _, chunk := range sent {
			if err = r.Write(chunk); err != nil {
				break
			}
		}
		if err == nil {
			err = r.Commit()
		}
		if !errors.Is(err, pinetree.ErrCorrupt) {
			t.Fatalf("with a hole in chunk %d the restore says %v, want ErrCorrupt", hole, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFlushDoesNotBringARemovedGroupBack(t *testing.T) {
	onEach(t, testAFlushDoesNotBringARemovedGroupBack)
}

func testAFlushDoesNotBringARemovedGroupBack(t *testing.T, k kind) {
	s := k.open(t, t.TempDir())
	g := openGroup(t, s)
	if err := g.Apply(bigWrite(t, 1, 0, 1)); err != nil {
		t.Fatal(err)
	}
	wish := &flushing{group: g, state: g.state.Load()}
	if err := s.Remove(1); err != nil {
		t.Fatal(err)
	}
	if err := s.storeStates([]*flushing{wish}); err != nil {
		t.Fatal(err)
	}
	if ids, err := s.Groups(); err != nil || len(ids) != 0 {
		t.Fatalf("groups %v, %v, want none", ids, err)
	}
	wantNothing(t, s)
}

// rewriteChunks is the snapshot without the first entry of one chunk.
func rewriteChunks(t *testing.T, name string, at pinetree.Position, chunks [][]byte, hole int) (sent [][]byte) {
	t.Helper()
	in := engine.NewChunkReader(engine.StreamOf(name, at))
	out := engine.NewChunkWriter(engine.StreamOf(name, at), func(chunk []byte) error {
		sent = append(sent, bytes.Clone(chunk))
		return nil
	})
	for i, chunk := range chunks {
		body, err := in.Open(chunk)
		if err == nil && i == hole {
			_, _, body, err = layout.CutItem(body)
		}
		if err == nil {
			_, err = out.Write(body)
		}
		if err == nil && i < len(chunks)-1 {
			err = out.Cut()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := out.End(); err != nil {
		t.Fatal(err)
	}
	return sent
}
