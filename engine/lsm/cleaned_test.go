package lsm

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
	var clean cleaned
	for i, c := range []struct {
		of   truncation
		left []string
		want []string
	}{
		{truncation{1, 1, 100}, nil, []string{"a", "b"}},
		{truncation{1, 1, 100}, nil, nil},
		{truncation{1, 1, 101}, []string{"b"}, []string{"a", "b"}},
		{truncation{1, 1, 101}, nil, []string{"b"}},
		{truncation{1, 1, 101}, nil, nil},
		{truncation{1, 2, 101}, nil, []string{"a", "b"}},
		{truncation{2, 2, 101}, nil, []string{"a", "b"}},
	} {
		step := trimStep{pages: map[pinetree.PageNo]bool{7: true}, keys: map[string]bool{"a": true, "b": true}}
		clean.about(c.of)
		clean.skip(step)
		if diff := cmp.Diff(c.want, slices.Sorted(maps.Keys(step.keys))); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
		if wantPage := len(c.want) == 2; step.pages[7] != wantPage {
			t.Errorf("step %d: the page is looked at: %v", i, step.pages[7])
		}
		clean.note(step, c.left)
	}
	for page := range pinetree.PageNo(maxCleaned + 100) {
		clean.note(trimStep{pages: map[pinetree.PageNo]bool{page: true}}, nil)
	}
	if n := len(clean.pages) + len(clean.keys); n > maxCleaned+1 {
		t.Errorf("%d are remembered, want %d at most", n, maxCleaned)
	}
}
