package cli

import (
	"fmt"
	"strings"

	"github.com/pinetree-db/pinetree/adapter/pgwal"
)

// ExplainWAL says what the records of a PostgreSQL log are made of.
func ExplainWAL(c pgwal.Counts) string {
	text := []string{fmt.Sprintf("%d whole WAL records", c.Records)}
	for _, part := range []struct {
		n    int
		what string
	}{
		{c.HeadFragments, "end of one that began before the first segment"},
		{c.TailFragments, "beginning of one that goes on after the last segment"},
		{c.BrokenOff, "broken off by a crash of PostgreSQL"},
		{c.Delivered - c.Records - c.HeadFragments - c.TailFragments - c.BrokenOff, "further pieces of long ones"},
	} {
		if part.n > 0 {
			text = append(text, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	return strings.Join(text, ", ")
}
