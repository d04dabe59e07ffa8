package voidengine_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/voidengine"
	"github.com/pinetree-db/pinetree/engine"
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

func opened(t *testing.T) (*voidengine.Store, engine.Engine) {
	t.Helper()
	s := voidengine.New()
	if err := s.Create(1, pinetree.Position{}); err != nil {
		t.Fatal(err)
	}
	e, err := s.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	return s, e
}

func TestPositionsRiseAndAreFlushed(t *testing.T) {
	_, e := opened(t)
	for i, lsn := range []pinetree.LSN{10, 20, 30} {
		if err := e.Apply(write(t, pinetree.RaftIndex(i+1), lsn-10, lsn)); err != nil {
			t.Fatal(err)
		}
		flushed, err := e.Flush()
		if err != nil || flushed.Volumes[1].LSN != lsn || e.Flushed().Index != pinetree.RaftIndex(i+1) {
			t.Fatalf("after %s: flushed %+v, %v", lsn, flushed, err)
		}
	}
}

// TestAHoleIsNotTaken: what is measured beside it pays for the same check.
func TestAHoleIsNotTaken(t *testing.T) {
	_, e := opened(t)
	if err := e.Apply(write(t, 1, 0, 10)); err != nil {
		t.Fatal(err)
	}
	if err := e.Apply(write(t, 2, 15, 20)); !errors.Is(err, pinetree.ErrCorrupt) {
		t.Errorf("a batch after a hole: %v", err)
	}
	if err := e.Apply(write(t, 3, 10, 20)); err == nil || e.Position().Volumes[1].LSN != 10 {
		t.Errorf("after an error: %v, at %+v", err, e.Position())
	}
}

// TestNothingThatWasNotKeptIsMissed: an answer that a page or key is not there, or
// a log that ends early, would be believed.
func TestNothingThatWasNotKeptIsMissed(t *testing.T) {
	s, e := opened(t)
	if err := e.Apply(write(t, 1, 0, 10)); err != nil {
		t.Fatal(err)
	}
	v, err := e.Volume(1)
	if err != nil {
		t.Fatal(err)
	}
	if v.Position().LSN != 10 {
		t.Errorf("the volume is at %s", v.Position().LSN)
	}
	for what, ask := range map[string]func() error{
		"page":     func() error { _, err := v.Page(1, 0); return err },
		"key":      func() error { _, err := v.Get([]byte("k"), 0); return err },
		"keys":     func() error { _, err := v.Range(engine.RangeSpec{Limit: 1}); return err },
		"log":      func() error { return v.Log(0, func(pinetree.Batch) error { return nil }) },
		"snapshot": func() error { _, err := s.Snapshot(1); return err },
		"restore":  func() error { _, err := s.Restore(1, pinetree.Position{}); return err },
	} {
		err := ask()
		if err == nil || errors.Is(err, pinetree.ErrNotFound) || errors.Is(err, pinetree.ErrTruncated) || !strings.Contains(err.Error(), "keeps nothing") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := e.Volume(2); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Errorf("a volume that there is not: %v", err)
	}
}
