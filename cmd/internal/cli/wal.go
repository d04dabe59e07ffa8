package cli

import (
	"strconv"
	"strings"

	"github.com/pinetree-db/pinetree/adapter/pgwal"
)

// ExplainWAL says what the records of a PostgreSQL log are made of.
func ExplainWAL(c pgwal.Counts) string {
	parts := []string{Count(int64(c.Records)) + " whole WAL records"}
	for _, part := range []struct {
		n         int
		one, many string
	}{
		{c.HeadFragments, "the end of one that began before the first segment", "ends of some that began before the first segment"},
		{c.TailFragments, "the beginning of one that goes on after the last segment", "beginnings of some that go on after the last segment"},
		{c.BrokenOff, "one that was broken off by a crash of PostgreSQL", "that were broken off by crashes of PostgreSQL"},
		{c.Delivered - c.Records - c.HeadFragments - c.TailFragments - c.BrokenOff, "a further piece of a long one", "further pieces of long ones"},
	} {
		switch part.n {
		case 0:
		case 1:
			parts = append(parts, part.one)
		default:
			parts = append(parts, Count(int64(part.n))+" "+part.many)
		}
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return strings.Join(parts[:len(parts)-1], ", ") + " and " + parts[len(parts)-1]
}

// Count prints a number with a comma at the thousands.
func Count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
