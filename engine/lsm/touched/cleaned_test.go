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
		clean.About(c.of)
		clean.Skip(step)
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
