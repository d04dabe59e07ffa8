package engine_test

import (
	"errors"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

func at(lsn, base pinetree.LSN) map[pinetree.VolumeID]pinetree.VolumePosition {
	return map[pinetree.VolumeID]pinetree.VolumePosition{1: {LSN: lsn, Base: base, Format: pinetree.FormatOpaque}}
}

func span(prev, lsn pinetree.LSN) pinetree.Batch {
	return pinetree.Batch{Volume: 1, Prev: prev, LSN: lsn, Count: 1}
}

func TestCheckWriteTakesOnlyWhatFollows(t *testing.T) {
	for name, c := range map[string]struct {
		old, next pinetree.Position
		batches   []pinetree.Batch
		ok        bool
	}{
		"no batches":                 {old: pinetree.Position{Index: 4, Volumes: at(10, 0)}, next: pinetree.Position{Index: 5, Volumes: at(10, 0)}, ok: true},
		"the next batches":           {old: pinetree.Position{Index: 4, Volumes: at(10, 0)}, next: pinetree.Position{Index: 9, Volumes: at(30, 0)}, batches: []pinetree.Batch{span(10, 20), span(20, 30)}, ok: true},
		"a new volume":               {next: pinetree.Position{Index: 1, Volumes: at(0, 0)}, ok: true},
		"the first batch":            {old: pinetree.Position{Index: 1, Volumes: at(0, 0)}, next: pinetree.Position{Index: 2, Volumes: at(5, 0)}, batches: []pinetree.Batch{span(0, 5)}, ok: true},
		"the first batch at a base":  {old: pinetree.Position{Index: 1, Volumes: at(0, 0)}, next: pinetree.Position{Index: 2, Volumes: at(105, 100)}, batches: []pinetree.Batch{span(100, 105)}, ok: true},
		"a fence that sets the base": {old: pinetree.Position{Index: 1, Volumes: at(0, 0)}, next: pinetree.Position{Index: 2, Volumes: at(100, 100)}, ok: true},
		"an index that stands":       {old: pinetree.Position{Index: 4}, next: pinetree.Position{Index: 4}},
		"an index that falls":        {old: pinetree.Position{Index: 4}, next: pinetree.Position{Index: 3}},
		"a hole":                     {old: pinetree.Position{Index: 4, Volumes: at(10, 0)}, next: pinetree.Position{Index: 5, Volumes: at(30, 0)}, batches: []pinetree.Batch{span(20, 30)}},
		"a hole between batches":     {old: pinetree.Position{Index: 4, Volumes: at(10, 0)}, next: pinetree.Position{Index: 5, Volumes: at(40, 0)}, batches: []pinetree.Batch{span(10, 20), span(30, 40)}},
		"a batch again":              {old: pinetree.Position{Index: 4, Volumes: at(20, 0)}, next: pinetree.Position{Index: 5, Volumes: at(20, 0)}, batches: []pinetree.Batch{span(10, 20)}},
		"the first not at the base":  {old: pinetree.Position{Index: 1, Volumes: at(100, 100)}, next: pinetree.Position{Index: 2, Volumes: at(5, 100)}, batches: []pinetree.Batch{span(0, 5)}},
		"a position ahead":           {old: pinetree.Position{Index: 4, Volumes: at(10, 0)}, next: pinetree.Position{Index: 5, Volumes: at(30, 0)}, batches: []pinetree.Batch{span(10, 20)}},
		"a position behind":          {old: pinetree.Position{Index: 4, Volumes: at(10, 0)}, next: pinetree.Position{Index: 5, Volumes: at(10, 0)}, batches: []pinetree.Batch{span(10, 20)}},
		"a position that falls":      {old: pinetree.Position{Index: 4, Volumes: at(10, 0)}, next: pinetree.Position{Index: 5, Volumes: at(9, 0)}},
		"batches without a position": {old: pinetree.Position{Index: 4}, next: pinetree.Position{Index: 5}, batches: []pinetree.Batch{span(0, 20)}},
		"an unknown format": {old: pinetree.Position{Index: 4}, batches: []pinetree.Batch{span(0, 20)},
			next: pinetree.Position{Index: 5, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: {LSN: 20, Format: 9}}}},
	} {
		t.Run(name, func(t *testing.T) {
			err := engine.CheckWrite(c.old, engine.Write{Position: c.next, Batches: c.batches})
			if c.ok && err != nil || !c.ok && !errors.Is(err, pinetree.ErrCorrupt) {
				t.Fatalf("error %v, want ok %v", err, c.ok)
			}
		})
	}
}

func TestReadAt(t *testing.T) {
	v := pinetree.VolumePosition{LSN: 50, Truncated: 20}
	for _, c := range []struct{ at, want pinetree.LSN }{{0, 50}, {50, 50}, {51, 50}, {49, 49}, {20, 20}} {
		if got, err := engine.ReadAt(1, v, c.at); err != nil || got != c.want {
			t.Fatalf("ReadAt(%s) = %s, %v, want %s", c.at, got, err, c.want)
		}
	}
	var gone *pinetree.TruncatedError
	if _, err := engine.ReadAt(1, v, 19); !errors.As(err, &gone) || gone.Asked != 19 || gone.First != 20 {
		t.Fatalf("ReadAt(19): %v, want a TruncatedError that asks 19 and begins at 20", err)
	}
}
