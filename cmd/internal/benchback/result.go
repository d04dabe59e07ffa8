package benchback

import (
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

// Kind is a way to read the log.
type Kind string

// The ways to read the log.
const (
	// Plain reads the files from front to back and looks at nothing.
	Plain Kind = "plain"
	// Log reads it through an engine that runs.
	Log Kind = "log"
	// Opened opens the engine and then reads it, as after a restart.
	Opened Kind = "log, opened anew"
)

var kinds = []Kind{Plain, Log, Opened}

// Sample is one reading of the whole log.
type Sample struct {
	MB          float64 `json:"mb"` // of payload, or of files
	Seconds     float64 `json:"seconds"`
	MBPerSecond float64 `json:"mb_s"`
	CPUSeconds  float64 `json:"cpu_s"`
	// FetchedMB is what the disk was asked for: about as much as was read, or it
	// was in memory; zero when the system does not tell.
	FetchedMB float64 `json:"fetched_mb"`
}

// Measured is one way to read: the medians of its rounds, and the rounds.
type Measured struct {
	Kind Kind `json:"kind"`
	Sample
	Rounds []Sample `json:"rounds"`
}

// Ratio is how fast a way to read is beside plain reads: the median of the
// rounds' ratios.
type Ratio struct {
	Of   Kind    `json:"of"`
	Is   float64 `json:"is"`
	Want float64 `json:"want,omitempty"`
	Met  bool    `json:"met"`
}

// Result is what was measured. Scripts depend on its JSON.
type Result struct {
	Kinds  []Measured `json:"kinds"`
	Ratios []Ratio    `json:"ratios"`
	Batch  int        `json:"batch_size"`
	Write  int        `json:"write_size"`
	Slice  int        `json:"slice"`
}

// bar is what reading a log is to reach of plain reads of its files.
const bar = 0.8

func (r *Result) add(kind Kind, s Sample) {
	i := slices.IndexFunc(r.Kinds, func(m Measured) bool { return m.Kind == kind })
	if i < 0 {
		r.Kinds = append(r.Kinds, Measured{Kind: kind})
		i = len(r.Kinds) - 1
	}
	r.Kinds[i].Rounds = append(r.Kinds[i].Rounds, s)
}

func (r *Result) finish(cfg Config) {
	r.Batch, r.Write, r.Slice = cfg.BatchBytes, cfg.WriteBytes, cfg.SliceBytes
	slices.SortFunc(r.Kinds, func(a, b Measured) int { return slices.Index(kinds, a.Kind) - slices.Index(kinds, b.Kind) })
	plain := r.Kinds[0]
	for i := range r.Kinds {
		m := &r.Kinds[i]
		of := func(figure func(Sample) float64) float64 {
			all := make([]float64, len(m.Rounds))
			for i, s := range m.Rounds {
				all[i] = figure(s)
			}
			return median(all)
		}
		m.Sample = Sample{
			MB: of(func(s Sample) float64 { return s.MB }), Seconds: of(func(s Sample) float64 { return s.Seconds }), MBPerSecond: of(rate),
			CPUSeconds: of(func(s Sample) float64 { return s.CPUSeconds }), FetchedMB: of(func(s Sample) float64 { return s.FetchedMB }),
		}
		if m.Kind == Plain {
			continue
		}
		all := make([]float64, len(m.Rounds))
		for i := range all {
			all[i] = rate(m.Rounds[i]) / rate(plain.Rounds[i])
		}
		q := Ratio{Of: m.Kind, Is: math.Round(median(all)*1000) / 1000, Met: true}
		if m.Kind == Log {
			q.Want, q.Met = bar, q.Is >= bar
		}
		r.Ratios = append(r.Ratios, q)
	}
}

func rate(s Sample) float64 { return s.MBPerSecond }

// median is the middle of some figures, of which there is at least one.
func median(figures []float64) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Print writes a table of the medians, and one of the ratios.
func (r Result) Print(w io.Writer) error {
	list := cli.Listing{Columns: []string{"read", "MB", "s", "MB/s", "CPU s", "MB from the disk", "rounds"}}
	for _, m := range r.Kinds {
		list.Rows = append(list.Rows, []any{
			m.Kind, fmt.Sprintf("%.0f", m.MB), fmt.Sprintf("%.2f", m.Seconds), fmt.Sprintf("%.0f", m.MBPerSecond), fmt.Sprintf("%.2f", m.CPUSeconds),
			fmt.Sprintf("%.0f", m.FetchedMB), len(m.Rounds),
		})
	}
	if err := list.Table(w); err != nil {
		return err
	}
	ratios := cli.Listing{Columns: []string{"median of the rounds", "is", "want", ""}}
	for _, q := range r.Ratios {
		want, verdict := "", "–"
		if q.Want > 0 {
			want, verdict = fmt.Sprintf("≥ %g", q.Want), "met"
		}
		if !q.Met {
			verdict = "missed"
		}
		ratios.Rows = append(ratios.Rows, []any{fmt.Sprintf("MB/s, %s ÷ %s", q.Of, Plain), q.Is, want, verdict})
	}
	return ratios.Table(w)
}
