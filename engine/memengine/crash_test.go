package memengine_test

import (
	"errors"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/memengine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

func write(t *testing.T, index pinetree.RaftIndex, prev, lsn pinetree.LSN) engine.Write {
	t.Helper()
	b, err := storepb.EncodeBatch(1, 1, []pinetree.Record{{Prev: prev, LSN: lsn, Payload: []byte("payload")}})
	if err != nil {
		t.Fatal(err)
	}
	return engine.Write{Batches: []pinetree.Batch{b}, Position: pinetree.Position{
		Index: index, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: {LSN: lsn, Format: pinetree.FormatOpaque}},
	}}
}

func open(t *testing.T, s *memengine.Store) engine.Engine {
	t.Helper()
	e, err := s.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestCrashFallsBackToWhatWasFlushed(t *testing.T) {
	for _, c := range []struct {
		flushOnApply bool
		want         pinetree.LSN
	}{{false, 10}, {true, 20}} {
		s := memengine.New(memengine.Options{FlushOnApply: c.flushOnApply})
		if err := s.Create(1, pinetree.Position{}); err != nil {
			t.Fatal(err)
		}
		before := open(t, s)
		if err := before.Apply(write(t, 1, 0, 10)); err != nil {
			t.Fatal(err)
		}
		if _, err := before.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := before.Apply(write(t, 2, 10, 20)); err != nil {
			t.Fatal(err)
		}
		s.Crash()
		if err := before.Apply(write(t, 3, 20, 30)); !errors.Is(err, pinetree.ErrStopped) {
			t.Fatalf("an engine from before the crash applied: %v", err)
		}
		after := open(t, s)
		if got := after.Position().Volumes[1].LSN; got != c.want {
			t.Fatalf("flush on apply %v: after the crash the log ends at %s, want %s", c.flushOnApply, got, c.want)
		}
		v, err := after.Volume(1)
		if err != nil {
			t.Fatal(err)
		}
		var end pinetree.LSN
		if err := v.Log(0, func(b pinetree.Batch) error { end = b.LSN; return nil }); err != nil || end != c.want {
			t.Fatalf("flush on apply %v: the last batch ends at %s (%v), want %s", c.flushOnApply, end, err, c.want)
		}
	}
}
