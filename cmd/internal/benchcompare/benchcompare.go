// Package benchcompare puts one load on clusters that differ in their engine, in
// turns, and says how they compare. It knows rounds and ratios; the load is
// bench's.
package benchcompare

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/pinetree-db/pinetree/cmd/internal/bench"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

// maxRounds bounds how often an engine is measured.
const maxRounds = 1000

// Config says what to compare.
type Config struct {
	// Load is the same for all engines but for its Engine.
	Load bench.Config
	// Engines to compare; the last one is what the others are compared with.
	Engines []string
	// Rounds is how often each is measured.
	Rounds int
	// With is called before a load is put on an engine's cluster and may change
	// it.
	With func(engine string, load *bench.Config)
	// Say hears of each measurement, in a line.
	Say io.Writer
}

// Result is what was measured. Scripts depend on its JSON.
type Result struct {
	Engines []Engine `json:"engines"`
	Ratios  []Ratio  `json:"ratios"`
	Rounds  int      `json:"rounds"`
	// Config is that of the first measurement; its engine is one of several.
	Config bench.Settings `json:"config"`
}

// Engine is one engine: the medians of its rounds, and the rounds.
type Engine struct {
	Name        string  `json:"engine"`
	MBPerSecond float64 `json:"mb_s"`
	P50         float64 `json:"p50_us"`
	P99         float64 `json:"p99_us"`
	// CPUPerGB is the CPU time, in seconds, of all processes of the run for 10⁹
	// bytes of records, which differ in size; zero where it cannot be observed.
	CPUPerGB float64        `json:"cpu_s_per_gb"`
	Rounds   []bench.Result `json:"rounds"`
}

// Ratio is how much more one engine ships than another: the median of the
// rounds' ratios of MB/s, and the extremes.
type Ratio struct {
	Of      string  `json:"of"`
	To      string  `json:"to"`
	Median  float64 `json:"median"`
	Lowest  float64 `json:"lowest"`
	Highest float64 `json:"highest"`
	// Want is the bar, zero where there is none.
	Want float64 `json:"want,omitempty"`
	Met  bool    `json:"met"`
}

// bars are what an engine is to reach of another.
var bars = map[[2]string]float64{{"wal", "none"}: 0.9}

// Check reports settings that cannot be.
func (c Config) Check() error {
	sorted := slices.Sorted(slices.Values(c.Engines))
	if len(c.Engines) < 2 || len(slices.Compact(sorted)) != len(c.Engines) {
		return cli.Usagef("--compare %v: want at least two different engines", c.Engines)
	}
	if c.Rounds < 1 || c.Rounds > maxRounds {
		return cli.Usagef("--rounds %d: want 1 to %d", c.Rounds, maxRounds)
	}
	return c.Load.Check()
}

// Run measures every engine in each round. Each round begins with another one,
// so that none always comes after the same. Measure is bench.Run.
func Run(ctx context.Context, cfg Config, measure func(context.Context, bench.Config) (bench.Result, error)) (Result, error) {
	if err := cfg.Check(); err != nil {
		return Result{}, err
	}
	result := Result{Rounds: cfg.Rounds}
	for _, name := range cfg.Engines {
		result.Engines = append(result.Engines, Engine{Name: name})
	}
	for round := range cfg.Rounds {
		for turn := range cfg.Engines {
			e := &result.Engines[(round+turn)%len(cfg.Engines)]
			load := cfg.Load
			load.Engine = e.Name
			cfg.With(e.Name, &load)
			r, err := measure(ctx, load)
			if err != nil {
				return Result{}, fmt.Errorf("round %d, engine %s: %w", round+1, e.Name, err)
			}
			fmt.Fprintf(cfg.Say, "round %d, %s: %.1f MB/s, p50 %.0f µs\n", round+1, e.Name, r.MBPerSecond, r.P50)
			if round == 0 && turn == 0 {
				result.Config = r.Config
			}
			e.Rounds = append(e.Rounds, r)
		}
	}
	result.finish()
	return result, nil
}

// finish computes medians and ratios.
func (r *Result) finish() {
	for i := range r.Engines {
		e := &r.Engines[i]
		of := func(figure func(bench.Result) float64) float64 {
			all := make([]float64, len(e.Rounds))
			for i, round := range e.Rounds {
				all[i] = figure(round)
			}
			return median(all)
		}
		e.MBPerSecond, e.P50, e.P99 = of(mbs), of(func(b bench.Result) float64 { return b.P50 }), of(func(b bench.Result) float64 { return b.P99 })
		e.CPUPerGB = of(cpuPerGB)
	}
	last := r.Engines[len(r.Engines)-1]
	for _, e := range r.Engines[:len(r.Engines)-1] {
		all := make([]float64, len(e.Rounds))
		for i := range all {
			all[i] = mbs(e.Rounds[i]) / mbs(last.Rounds[i])
		}
		q := Ratio{Of: e.Name, To: last.Name, Median: median(all), Lowest: slices.Min(all), Highest: slices.Max(all), Want: bars[[2]string{e.Name, last.Name}]}
		q.Met = q.Median >= q.Want
		r.Ratios = append(r.Ratios, q)
	}
}

// cpuPerGB is what shipping has cost, whoever else was busy meanwhile.
func cpuPerGB(r bench.Result) float64 {
	if r.CPU.Nodes == nil || r.CPU.Manager == nil || r.MBPerSecond == 0 {
		return 0
	}
	return (r.CPU.Load + *r.CPU.Nodes + *r.CPU.Manager) / (r.MBPerSecond * r.Seconds) * 1e3
}

func mbs(r bench.Result) float64 { return r.MBPerSecond }

// median is the middle of some figures, of which there is at least one.
func median(figures []float64) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Print writes a table of the medians, and one of the ratios.
func (r Result) Print(w io.Writer) error {
	list := cli.Listing{Columns: []string{"engine", "MB/s", "p50 µs", "p99 µs", "CPU s/GB", "rounds"}}
	for _, e := range r.Engines {
		list.Rows = append(list.Rows, []any{e.Name, short(e.MBPerSecond), short(e.P50), short(e.P99), short(e.CPUPerGB), len(e.Rounds)})
	}
	if err := list.Table(w); err != nil {
		return err
	}
	ratios := cli.Listing{Columns: []string{"MB/s, median of the rounds", "is", "lowest", "highest", "want", ""}}
	for _, q := range r.Ratios {
		want, verdict := any(""), "–"
		if q.Want > 0 {
			want, verdict = fmt.Sprintf("≥ %g", q.Want), "met"
		}
		if !q.Met {
			verdict = "missed"
		}
		ratios.Rows = append(ratios.Rows, []any{q.Of + " ÷ " + q.To, short(q.Median), short(q.Lowest), short(q.Highest), want, verdict})
	}
	return ratios.Table(w)
}

// short leaves three digits that count, and whole numbers above that.
func short(v float64) float64 {
	if v == 0 {
		return 0
	}
	scale := math.Pow(10, max(0, 2-math.Floor(math.Log10(math.Abs(v)))))
	return math.Round(v*scale) / scale
}
