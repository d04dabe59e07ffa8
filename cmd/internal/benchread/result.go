package benchread

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/testbed"
)

// Result is what was measured. Scripts depend on its JSON.
type Result struct {
	Cases  []Measured `json:"cases"`
	Bars   []Bar      `json:"bars"`
	Config Settings   `json:"config"`
}

// Measured is one case: the medians of its rounds, and the rounds.
type Measured struct {
	Case
	LevelName string `json:"level,omitempty"`
	Sample
	Rounds []Sample `json:"rounds"`
}

// Sample is a case in one round. Latencies are of a call, in microseconds.
type Sample struct {
	Round          int     `json:"round,omitempty"`
	OpsPerSecond   float64 `json:"ops_s"`
	PagesPerSecond float64 `json:"pages_s"`
	P50            float64 `json:"p50_us"`
	P99            float64 `json:"p99_us"`
	P999           float64 `json:"p999_us"`
	// CPUPerOp is the CPU time in microseconds of this process, the nodes and the
	// echo for one call.
	CPUPerOp float64 `json:"cpu_us_per_op"`
	// Degraded counts default reads that found no lease and asked a quorum.
	Degraded int64 `json:"degraded"`
}

// Bar is how two cases compare: the median of the rounds' ratios.
type Bar struct {
	What string  `json:"what"`
	Is   float64 `json:"is"`
	Want string  `json:"want,omitempty"` // empty when nothing is
	Met  bool    `json:"met"`
}

// Settings are all that a result depends on, beside the machine.
type Settings struct {
	Pages     int      `json:"pages"`
	PageBytes int      `json:"page_size"`
	Patches   int      `json:"patches"`
	Back      int      `json:"back"`
	Rounds    int      `json:"rounds"`
	DurationS float64  `json:"duration_s"`
	Targets   []string `json:"target,omitempty"`
	Nodes     int      `json:"nodes,omitempty"`
	Engine    string   `json:"engine,omitempty"`
	NodeArgs  []string `json:"node_args,omitempty"`
	CPUs      int      `json:"cpus"`
	Go        string   `json:"go"`
}

func (c Config) settings() Settings {
	s := Settings{
		Pages: c.Pages, PageBytes: c.PageBytes, Patches: c.Patches, Back: c.Back, Rounds: c.Rounds, DurationS: c.Duration.Seconds(),
		Targets: c.Targets, CPUs: runtime.NumCPU(), Go: runtime.Version(),
	}
	if len(c.Targets) == 0 {
		s.Nodes, s.Engine, s.NodeArgs = testbed.Replicas, c.Engine, c.NodeArgs
	}
	return s
}

// add takes a sample in.
func (r *Result) add(c Case, s Sample) {
	i := slices.IndexFunc(r.Cases, func(m Measured) bool { return m.Case == c })
	if i < 0 {
		m := Measured{Case: c}
		if c.Kind == Read {
			m.LevelName = c.Level.String()
		}
		r.Cases = append(r.Cases, m)
		i = len(r.Cases) - 1
	}
	r.Cases[i].Rounds = append(r.Cases[i].Rounds, s)
}

// finish computes medians and bars, and puts the cases in order.
func (r *Result) finish() {
	for i := range r.Cases {
		m := &r.Cases[i]
		of := func(f func(Sample) float64) float64 { return median(m.Rounds, f) }
		m.Sample = Sample{
			OpsPerSecond: of(ops), PagesPerSecond: of(pages), P50: of(p50),
			P99: of(func(s Sample) float64 { return s.P99 }), P999: of(func(s Sample) float64 { return s.P999 }),
			CPUPerOp: of(func(s Sample) float64 { return s.CPUPerOp }),
		}
		for _, s := range m.Rounds {
			m.Degraded += s.Degraded
		}
	}
	slices.SortStableFunc(r.Cases, func(a, b Measured) int { return a.compareTo(b.Case) })
	r.judge()
}

// compareTo sorts by kind, then level, then batch, then what is in flight; what is
// apart comes last.
func (c Case) compareTo(o Case) int {
	kinds := []Kind{Read, Fetch, Echo}
	apart := 0
	switch {
	case c.Apart && !o.Apart:
		apart = 1
	case o.Apart && !c.Apart:
		apart = -1
	}
	return cmp.Or(
		slices.Index(kinds, c.Kind)-slices.Index(kinds, o.Kind), int(c.Level)-int(o.Level), c.Batch-o.Batch, c.Inflight-o.Inflight, apart,
	)
}

func ops(s Sample) float64   { return s.OpsPerSecond }
func pages(s Sample) float64 { return s.PagesPerSecond }
func p50(s Sample) float64   { return s.P50 }

// judge compares the cases that belong together. The bars are about calls, so that
// they hold reads that share none to what is wanted.
func (r *Result) judge() {
	for _, m := range r.Cases {
		if m.Kind != Read || m.Level != pinetree.ReadDefault {
			continue
		}
		if m.Batch > 1 {
			for _, apart := range []bool{true, false} {
				single := Case{Kind: Read, Level: m.Level, Inflight: m.Inflight, Batch: 1, Apart: apart}
				what := fmt.Sprintf("pages/s, %d in a read ÷ single%s, %d in flight", m.Batch, single.manner(), m.Inflight)
				r.compare(what, ratio{m, r.find(single), pages}, atLeast(5, apart && m.Batch == 64))
			}
			continue
		}
		name := "default" + m.manner()
		for _, kind := range []Kind{Echo, Fetch} {
			bare := r.find(Case{Kind: kind, Inflight: m.Inflight, Batch: 1})
			what := fmt.Sprintf("reads/s, %s ÷ %s, %d in flight", name, kind, m.Inflight)
			r.compare(what, ratio{m, bare, ops}, atLeast(0.75, m.Apart && m.Inflight > 1 && kind == Echo))
		}
		quorum := r.find(Case{Kind: Read, Level: pinetree.ReadConsistent, Inflight: m.Inflight, Batch: 1, Apart: m.Apart})
		what := fmt.Sprintf("p50, %s ÷ consistent, %d in flight", name, m.Inflight)
		r.compare(what, ratio{m, quorum, p50}, atMost(0.5, m.Apart && m.Inflight == 1))
	}
}

// ratio is a figure of one case and the same one of another.
type ratio struct {
	of     Measured
	to     *Measured // nil when it was not measured
	figure func(Sample) float64
}

// wanted is a bar; the zero one wants nothing.
type wanted struct {
	words string
	met   func(float64) bool
}

func atLeast(bar float64, wants bool) wanted {
	if !wants {
		return wanted{}
	}
	return wanted{fmt.Sprintf("≥ %g", bar), func(is float64) bool { return is >= bar }}
}

func atMost(bar float64, wants bool) wanted {
	if !wants {
		return wanted{}
	}
	return wanted{fmt.Sprintf("≤ %g", bar), func(is float64) bool { return is <= bar }}
}

// compare adds the median of the ratios of the rounds, if both sides were measured.
func (r *Result) compare(what string, q ratio, w wanted) {
	if q.to == nil {
		return
	}
	n := min(len(q.of.Rounds), len(q.to.Rounds))
	each := make([]Sample, n)
	for i := range each {
		each[i].OpsPerSecond = q.figure(q.of.Rounds[i]) / q.figure(q.to.Rounds[i])
	}
	bar := Bar{What: what, Is: math.Round(median(each, ops)*1000) / 1000, Want: w.words, Met: true}
	if w.met != nil {
		bar.Met = w.met(bar.Is)
	}
	r.Bars = append(r.Bars, bar)
}

func (r *Result) find(c Case) *Measured {
	if i := slices.IndexFunc(r.Cases, func(m Measured) bool { return m.Case == c }); i >= 0 {
		return &r.Cases[i]
	}
	return nil
}

func median(samples []Sample, figure func(Sample) float64) float64 {
	all := make([]float64, len(samples))
	for i, s := range samples {
		all[i] = figure(s)
	}
	slices.Sort(all)
	n := len(all)
	if n == 0 {
		return 0
	}
	return (all[(n-1)/2] + all[n/2]) / 2
}

// Print writes a table of the medians, and one of the comparisons.
func (r Result) Print(w io.Writer) error {
	list := cli.Listing{Columns: []string{"case", "calls/s", "pages/s", "MB/s", "p50 µs", "p99 µs", "p99.9 µs", "CPU µs/call", "without lease"}}
	for _, m := range r.Cases {
		list.Rows = append(list.Rows, []any{
			m.Case.String(), cli.Count(int64(m.OpsPerSecond)), cli.Count(int64(m.PagesPerSecond)),
			math.Round(m.PagesPerSecond * float64(r.Config.PageBytes) / 1e6), math.Round(m.P50), math.Round(m.P99), math.Round(m.P999),
			math.Round(m.CPUPerOp*10) / 10, m.Degraded,
		})
	}
	if err := list.Table(w); err != nil || len(r.Bars) == 0 {
		return err
	}
	bars := cli.Listing{Columns: []string{"median of the rounds", "is", "want", ""}}
	for _, b := range r.Bars {
		verdict := "met"
		switch {
		case b.Want == "":
			verdict = "–"
		case !b.Met:
			verdict = "missed"
		}
		bars.Rows = append(bars.Rows, []any{b.What, b.Is, b.Want, verdict})
	}
	return bars.Table(w)
}
