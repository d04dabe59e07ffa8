package report

import (
	"slices"

	"github.com/pinetree-db/pinetree/test/bench/peers/load"
)

// A Measurement is one load on one system in one round.
type Measurement struct {
	Round  int         `json:"round"`
	Load   string      `json:"load"`
	System string      `json:"system"`
	Result load.Result `json:"result"`
	// Error is why there is no result.
	Error string `json:"error,omitempty"`
}

// A Cell is what one system did under one load, over all rounds. Each figure is
// the median of its own.
type Cell struct {
	Rounds int         `json:"rounds"` // those that went well
	Failed int         `json:"failed"`
	Median load.Result `json:"median"`
}

// Cells holds a cell for each load and system that was measured.
type Cells map[string]map[string]*Cell

// Medians sums measurements up.
func Medians(all []Measurement) Cells {
	results := map[[2]string][]load.Result{}
	cells := Cells{}
	for _, m := range all {
		if cells[m.Load] == nil {
			cells[m.Load] = map[string]*Cell{}
		}
		cell := cells[m.Load][m.System]
		if cell == nil {
			cell = &Cell{}
			cells[m.Load][m.System] = cell
		}
		if m.Error != "" {
			cell.Failed++
			continue
		}
		cell.Rounds++
		key := [2]string{m.Load, m.System}
		results[key] = append(results[key], m.Result)
	}
	for key, rs := range results {
		cells[key[0]][key[1]].Median = medianResult(rs)
	}
	return cells
}

func medianResult(rs []load.Result) load.Result {
	of := func(figure func(load.Result) float64) float64 {
		figures := make([]float64, len(rs))
		for i, r := range rs {
			figures[i] = figure(r)
		}
		return Median(figures)
	}
	return load.Result{
		OpsPerSecond:    of(func(r load.Result) float64 { return r.OpsPerSecond }),
		MBPerSecond:     of(func(r load.Result) float64 { return r.MBPerSecond }),
		P50:             of(func(r load.Result) float64 { return r.P50 }),
		P99:             of(func(r load.Result) float64 { return r.P99 }),
		P999:            of(func(r load.Result) float64 { return r.P999 }),
		CPUPer100k:      of(func(r load.Result) float64 { return r.CPUPer100k }),
		WrittenPerByte:  of(func(r load.Result) float64 { return r.WrittenPerByte }),
		FsyncsPerCommit: of(func(r load.Result) float64 { return r.FsyncsPerCommit }),
		PeakRSS:         of(func(r load.Result) float64 { return r.PeakRSS }),
	}
}

// Median is the middle of some figures, or the mean of the two in the middle; 0
// when there are none.
func Median(figures []float64) float64 {
	sorted := slices.Clone(figures)
	slices.Sort(sorted)
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// get returns the median of one system under one load, and whether it has one.
func (c Cells) get(load, system string) (*Cell, bool) {
	cell := c[load][system]
	return cell, cell != nil && cell.Rounds > 0
}
