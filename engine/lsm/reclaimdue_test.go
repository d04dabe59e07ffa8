package lsm

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// reclaims counts how often space is asked back of a database.
type reclaims struct {
	sorted.Database
	times atomic.Int32
}

func (r *reclaims) Reclaim(bool, func() error) error { r.times.Add(1); return nil }

func TestAVolumeThatCannotBeTrimmedKeepsNoOthersSpace(t *testing.T) {
	db, err := onPebble.small(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	counted := &reclaims{Database: db}
	s, err := Open(counted)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	const damaged = 2
	position := pinetree.Position{Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{damaged: {Format: pinetree.FormatOpaque, LSN: 10, Truncated: 10}}}
	if err := s.Create(damaged, position); err != nil {
		t.Fatal(err)
	}
	other, err := s.Open(damaged)
	if err != nil {
		t.Fatal(err)
	}
	odd := append(layout.KeysOf(damaged, other.(*group).state.Load().generation, damaged).Kind(layout.LogKind), "odd"...)
	if err := s.commit([]entry{{Key: odd, Value: []byte("odd")}}); err != nil {
		t.Fatal(err)
	}
	g := openGroup(t, s)
	at := aged(t, g, 200)
	at.Truncated = 150
	err = g.Apply(engine.Write{Position: pinetree.Position{Index: g.Position().Index + 1, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: at}}})
	if err != nil {
		t.Fatal(err)
	}
	flush(t, g)
	for deadline := time.Now().Add(5 * time.Second); counted.times.Load() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what was trimmed of the other volume is not given back")
		}
	}
}
