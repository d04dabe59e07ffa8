package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// systems are those that were tried under a load: Pinetree first, the floor
// last, and between them the faster before the slower.
func (c Cells) systems(load string) []string {
	rank := func(s string) int {
		switch {
		case IsPinetree(s):
			return 0
		case isFloor(s):
			return 2
		}
		return 1
	}
	return slices.SortedFunc(maps.Keys(c[load]), func(a, b string) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			cmp.Compare(c[load][b].Median.OpsPerSecond, c[load][a].Median.OpsPerSecond),
			cmp.Compare(a, b))
	})
}

// loads are those that were measured: the known ones in their order, then the
// others.
func (c Cells) loads() []string {
	at := func(load string) int {
		known := slices.Concat(Loads, Reads)
		if i := slices.Index(known, load); i >= 0 {
			return i
		}
		return len(known)
	}
	return slices.SortedFunc(maps.Keys(c), func(a, b string) int {
		return cmp.Or(cmp.Compare(at(a), at(b)), cmp.Compare(a, b))
	})
}

// Markdown is everything as text: a table for each load, then the verdicts.
func Markdown(cells Cells) string {
	var b strings.Builder
	for _, load := range cells.loads() {
		fmt.Fprintf(&b, "## %s\n\n", load)
		cells.table(&b, load)
		b.WriteString("\n")
	}
	verdicts := Judge(cells)
	if len(verdicts) == 0 {
		return b.String()
	}
	b.WriteString("## Bars\n\n```\n")
	for _, v := range verdicts {
		fmt.Fprintln(&b, v)
	}
	b.WriteString("```\n")
	return b.String()
}

// table has one system a line. The last column is how many times the system's
// ops/s Pinetree has, one such column for each engine.
func (c Cells) table(b *strings.Builder, load string) {
	systems := c.systems(load)
	b.WriteString("| system | ops/s | MB/s | p50 µs | p99 µs | p99.9 µs | CPU s/100k | RSS MB | rounds |")
	rule := "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
	var own []string
	for _, s := range systems {
		if _, ok := c.get(load, s); ok && IsPinetree(s) {
			own = append(own, s)
			fmt.Fprintf(b, " %s ÷ this |", s)
			rule += "--:|"
		}
	}
	b.WriteString("\n" + rule + "\n")
	for _, s := range systems {
		cell := c[load][s]
		m := cell.Median
		rounds := fmt.Sprint(cell.Rounds)
		if cell.Failed > 0 {
			rounds += fmt.Sprintf(", %d failed", cell.Failed)
		}
		fmt.Fprintf(b, "| %s |", s)
		for _, v := range []float64{m.OpsPerSecond, m.MBPerSecond, m.P50, m.P99, m.P999, m.CPUPer100k, m.PeakRSS} {
			fmt.Fprintf(b, " %s |", known(v))
		}
		fmt.Fprintf(b, " %s |", rounds)
		for _, o := range own {
			if m.OpsPerSecond == 0 {
				b.WriteString(" |")
				continue
			}
			fmt.Fprintf(b, " %.2f |", c[load][o].Median.OpsPerSecond/m.OpsPerSecond)
		}
		b.WriteString("\n")
	}
}

// known prints a figure of a table, of which zero is one that nobody knows.
func known(v float64) string {
	if v == 0 {
		return "–"
	}
	return short(v)
}

// short prints three digits that count, and large numbers in groups.
func short(v float64) string {
	switch abs := math.Abs(v); {
	case abs == 0:
		return "0"
	case abs < 10:
		return fmt.Sprintf("%.2f", v)
	case abs < 100:
		return fmt.Sprintf("%.1f", v)
	}
	digits := fmt.Sprintf("%.0f", v)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
