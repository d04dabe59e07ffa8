package trimming_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/trimming"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// volume is one with ten bytes of log for each LSN from 100 to 1,000.
func volume(slots ...pinetree.Slot) pinetree.VolumePosition {
	return pinetree.VolumePosition{LSN: 1000, Base: 100, LogBytes: 9000, Slots: slots}
}

func slot(name string, lsn pinetree.LSN) pinetree.Slot { return pinetree.Slot{Name: name, LSN: lsn} }

func TestTheLogIsTruncatedAsFarAsItMayBe(t *testing.T) {
	lost := pinetree.Slot{Name: "lost", LSN: 150, Lost: true}
	for name, c := range map[string]struct {
		at    pinetree.VolumePosition
		order *storepb.ChangeVolume
		to    pinetree.LSN
		gone  int64
	}{
		"as asked":                     {volume(), &storepb.ChangeVolume{Truncate: 400, TruncateBytes: 3100}, 400, 3100},
		"up to the end":                {volume(), &storepb.ChangeVolume{Truncate: 1000, TruncateBytes: 9000}, 1000, 9000},
		"not beyond what is replayed":  {volume(), &storepb.ChangeVolume{Truncate: 1900, TruncateBytes: 18000}, 1000, 9000},
		"not below where it begins":    {volume(), &storepb.ChangeVolume{Truncate: 99}, 0, 0},
		"not beyond a slot":            {volume(slot("a", 700), slot("b", 250)), &storepb.ChangeVolume{Truncate: 400, TruncateBytes: 3000}, 250, 1500},
		"a lost slot holds nothing":    {volume(lost, slot("z", 700)), &storepb.ChangeVolume{Truncate: 400, TruncateBytes: 3000}, 400, 3000},
		"a slot that goes in the same": {volume(slot("a", 250)), &storepb.ChangeVolume{Truncate: 400, DropSlots: []string{"a"}}, 400, 0},
		"a slot lost in the same": {volume(slot("a", 250)), &storepb.ChangeVolume{
			Truncate: 400, PutSlots: []*storepb.Slot{{Name: "a", Lsn: 250, Lost: true}}}, 400, 0},
		"bytes are never more than there are": {volume(), &storepb.ChangeVolume{Truncate: 400, TruncateBytes: 1 << 40}, 400, 9000},
	} {
		t.Run(name, func(t *testing.T) {
			got := trimming.Change(c.at, c.order)
			if got.Truncated != c.to || got.TruncatedBytes != c.gone {
				t.Fatalf("truncated up to %d, %d bytes; want %d, %d", got.Truncated, got.TruncatedBytes, c.to, c.gone)
			}
		})
	}
}

func TestSlotsOnlyGoForward(t *testing.T) {
	at := volume(slot("b", 500))
	at.Truncated = 300
	bound := func(bytes int64) pinetree.Slot { return pinetree.Slot{Name: "b", LSN: 500, MaxBytes: bytes} }
	over := &storepb.Slot{Name: "b", Lsn: 500, MaxBytes: 70, Lost: true}
	full := volume()
	for i := range pinetree.MaxSlots {
		full.Slots = append(full.Slots, slot(fmt.Sprintf("s%02d", i), 500))
	}
	for name, c := range map[string]struct {
		at   pinetree.VolumePosition
		put  *storepb.Slot
		want []pinetree.Slot
	}{
		"a new one, in the order of names":     {at, &storepb.Slot{Name: "a", Lsn: 300}, []pinetree.Slot{slot("a", 300), slot("b", 500)}},
		"one that needs what is gone":          {at, &storepb.Slot{Name: "c", Lsn: 299}, []pinetree.Slot{slot("b", 500)}},
		"one ahead of the log":                 {at, &storepb.Slot{Name: "c", Lsn: 5000}, []pinetree.Slot{slot("b", 500), slot("c", 1000)}},
		"forward":                              {at, &storepb.Slot{Name: "b", Lsn: 600, MaxBytes: 7}, []pinetree.Slot{{Name: "b", LSN: 600, MaxBytes: 7}}},
		"back":                                 {at, &storepb.Slot{Name: "b", Lsn: 400}, []pinetree.Slot{slot("b", 500)}},
		"lost":                                 {at, &storepb.Slot{Name: "b", Lsn: 500, Lost: true}, []pinetree.Slot{{Name: "b", LSN: 500, Lost: true}}},
		"lost, and it has moved on":            {at, &storepb.Slot{Name: "b", Lsn: 499, Lost: true}, []pinetree.Slot{slot("b", 500)}},
		"lost, over the bound that it has":     {volume(bound(70)), over, []pinetree.Slot{{Name: "b", LSN: 500, MaxBytes: 70, Lost: true}}},
		"lost, and its bound was raised":       {volume(bound(71)), over, []pinetree.Slot{bound(71)}},
		"lost, and its bound was taken away":   {volume(bound(0)), over, []pinetree.Slot{bound(0)}},
		"lost, and its bound was lowered":      {volume(bound(60)), over, []pinetree.Slot{{Name: "b", LSN: 500, MaxBytes: 60, Lost: true}}},
		"lost, and it was dropped":             {at, &storepb.Slot{Name: "x", Lsn: 499, Lost: true}, []pinetree.Slot{slot("b", 500)}},
		"one that is lost does not come again": {volume(pinetree.Slot{Name: "b", LSN: 500, Lost: true}), &storepb.Slot{Name: "b", Lsn: 900}, []pinetree.Slot{{Name: "b", LSN: 500, Lost: true}}},
		"one too many":                         {full, &storepb.Slot{Name: "t", Lsn: 500}, full.Slots},
	} {
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(c.at.Slots)
			got := trimming.Change(c.at, &storepb.ChangeVolume{PutSlots: []*storepb.Slot{c.put}})
			if !slices.Equal(got.Slots, c.want) {
				t.Fatalf("slots %+v, want %+v", got.Slots, c.want)
			}
			if !slices.Equal(c.at.Slots, before) {
				t.Fatalf("the slots of the position before were written to: %+v", c.at.Slots)
			}
		})
	}
}

func TestSettingsAreReplacedAsAWhole(t *testing.T) {
	at := volume()
	at.Settings = pinetree.VolumeSettings{KeepFor: time.Hour, MaxTails: 3}
	if got := trimming.Change(at, &storepb.ChangeVolume{Truncate: 200}).Settings; got != at.Settings {
		t.Fatalf("settings %+v after a change that names none", got)
	}
	got := trimming.Change(at, &storepb.ChangeVolume{Settings: &storepb.VolumeSettings{KeepBytes: 5}}).Settings
	if want := (pinetree.VolumeSettings{KeepBytes: 5}); got != want {
		t.Fatalf("settings %+v, want %+v", got, want)
	}
}

// TestNoChangeTakesWhatASlotHolds makes any changes of any volume.
func TestNoChangeTakesWhatASlotHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lsn := rapid.Uint64Range(0, 1200)
		name := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		at := volume()
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			c := &storepb.ChangeVolume{Truncate: lsn.Draw(t, "to"), TruncateBytes: rapid.Uint64Range(0, 20_000).Draw(t, "bytes")}
			for range rapid.IntRange(0, 2).Draw(t, "puts") {
				c.PutSlots = append(c.PutSlots, &storepb.Slot{Name: name.Draw(t, "put"), Lsn: lsn.Draw(t, "lsn"), Lost: rapid.Bool().Draw(t, "lost")})
			}
			if rapid.Bool().Draw(t, "drops") {
				c.DropSlots = []string{name.Draw(t, "drop")}
			}
			next := trimming.Change(at, c)
			if next.Truncated < at.Truncated || next.TruncatedBytes < at.TruncatedBytes || next.Truncated > next.LSN || next.Kept() < 0 {
				t.Fatalf("%+v became %+v", at, next)
			}
			if !slices.IsSortedFunc(next.Slots, func(a, b pinetree.Slot) int { return cmp.Compare(a.Name, b.Name) }) {
				t.Fatalf("slots %+v", next.Slots)
			}
			for _, s := range next.Slots {
				if !s.Lost && s.LSN < next.First() {
					t.Fatalf("slot %+v, and the log begins at %d", s, next.First())
				}
			}
			at = next
		}
	})
}
