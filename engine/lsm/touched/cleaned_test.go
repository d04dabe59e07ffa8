package touched

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinetree-db/pinetree"
)

// TestAStepSkipsOnlyWhatTheSameTruncationHasCleaned goes through steps that change the
// same pages and keys.
func TestAStepSkipsOnlyWhatTheSameTruncationHasCleaned(t *testing.T) {
	var clean Cleaned
	for i, c := range []struct {
		of   Truncation
		want []string
	}{
		{Truncation{1, 1, 100}, []string{"a", "b"}},
		{Truncation{1, 1, 100}, nil},
		{Truncation{1, 1, 101}, []string{"a", "b"}},
		{Truncation{1, 1, 101}, nil},
		{Truncation{1, 2, 101}, []string{"a", "b"}},
		{Truncation{2, 2, 101}, []string{"a", "b"}},
	} {
		step := Set{Pages: map[pinetree.PageNo]bool{7: true}, Keys: map[string]bool{"a": true, "b": true}}
		clean.Begin(c.of, &step)
		if diff := cmp.Diff(c.want, slices.Sorted(maps.Keys(step.Keys))); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
		if wantPage := len(c.want) == 2; step.Pages[7] != wantPage {
			t.Errorf("step %d: the page is looked at: %v", i, step.Pages[7])
		}
		clean.Note(step)
	}
	for page := range pinetree.PageNo(maxCleaned + 100) {
		clean.Note(Set{Pages: map[pinetree.PageNo]bool{page: true}})
	}
	if n := len(clean.what.Pages) + len(clean.what.Keys); n > maxCleaned+1 {
		t.Errorf("%d are remembered, want %d at most", n, maxCleaned)
	}
}

func TestAShortenedPageIsTakenOnceTheTruncationIsThere(t *testing.T) {
	var s shortened
	s.note(Truncation{1, 1, 100}, 7)
	s.note(Truncation{1, 1, 200}, 8)
	s.note(Truncation{1, 2, 100}, 9)
	s.note(Truncation{2, 1, 100}, 10)
	for _, c := range []struct {
		at   pinetree.LSN
		want []pinetree.PageNo
	}{{99, nil}, {100, []pinetree.PageNo{7}}, {100, nil}, {300, []pinetree.PageNo{8}}} {
		var step Set
		s.take(Truncation{1, 1, c.at}, &step)
		if diff := cmp.Diff(c.want, slices.Sorted(maps.Keys(step.Pages))); diff != "" {
			t.Errorf("truncated at %s (-want +got):\n%s", c.at, diff)
		}
	}
	if len(s.at) != 2 {
		t.Errorf("%d are left, want those of the other volume and generation", len(s.at))
	}
	for page := range pinetree.PageNo(maxShortened + 100) {
		s.note(Truncation{1, 1, 1}, page)
	}
	if len(s.at) != maxShortened {
		t.Errorf("%d are remembered, want %d", len(s.at), maxShortened)
	}
}
