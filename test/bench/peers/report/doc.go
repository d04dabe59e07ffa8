// Package report turns what was measured into medians, tables with ratios, and
// verdicts on what Pinetree is to reach. It knows the names of loads and
// systems and starts nothing.
package report
