package lsm

import (
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// stored counts the keys of a prefix.
func stored(t *testing.T, s *Store, prefix []byte) (n int) {
	t.Helper()
	err := s.db.Scan(prefix, func(it sorted.Iterator) error {
		for it.Seek(nil); it.Valid(); it.Next() {
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestNothingIsKeptOfAVolumeThatIsGone, but for as long as a snapshot from before
// reads it; also when the process ends in between.
func TestNothingIsKeptOfAVolumeThatIsGone(t *testing.T) {
	onEach(t, func(t *testing.T, k kind) {
		dir := t.TempDir()
		s := k.open(t, dir)
		g := openGroup(t, s)
		aged(t, g, 200)
		flush(t, g)
		all := layout.GenerationKey(layout.DataKey, g.id, g.state.Load().generation)
		if n := stored(t, s, all); n < 200 {
			t.Fatalf("%d keys are stored", n)
		}
		before, err := s.Snapshot(g.id)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Apply(engine.Write{Position: pinetree.Position{Index: g.Position().Index + 1, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{}}}); err != nil {
			t.Fatal(err)
		}
		flush(t, g)
		time.Sleep(50 * time.Millisecond)
		if err := before.Chunks(func([]byte) error { return nil }); err != nil {
			t.Errorf("the snapshot from before: %v", err)
		}
		if n := stored(t, s, []byte{layout.DropKey}); n != 1 {
			t.Errorf("%d notes of volumes that are gone", n)
		}
		closeStore(t, s) // with the snapshot open, so that nothing was deleted yet
		s = k.open(t, dir)
		for deadline := time.Now().Add(10 * time.Second); stored(t, s, all)+stored(t, s, []byte{layout.DropKey}) > 0; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d keys and %d notes are left", stored(t, s, all), stored(t, s, []byte{layout.DropKey}))
			}
		}
		closeStore(t, s)
	})
}

// TestNothingIsKeptOfAVolumeThatCameAndWent between two flushes, of which no stored
// position ever had it.
func TestNothingIsKeptOfAVolumeThatCameAndWent(t *testing.T) {
	onEach(t, func(t *testing.T, k kind) {
		s := k.open(t, t.TempDir())
		defer closeStore(t, s)
		g := openGroup(t, s)
		aged(t, g, 200)
		if n := len(g.Flushed().Volumes); n != 0 {
			t.Fatalf("%d volumes are flushed", n)
		}
		if err := g.Apply(engine.Write{Position: pinetree.Position{Index: g.Position().Index + 1, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{}}}); err != nil {
			t.Fatal(err)
		}
		flush(t, g)
		all := layout.GenerationKey(layout.DataKey, g.id, g.state.Load().generation)
		for deadline := time.Now().Add(10 * time.Second); stored(t, s, all)+stored(t, s, []byte{layout.DropKey}) > 0; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d keys are left", stored(t, s, all))
			}
		}
	})
}
