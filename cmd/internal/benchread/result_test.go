package benchread

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pinetree-db/pinetree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestBarsAreMediansOfTheRoundsRatios has a machine that is ten times slower in
// one round: a ratio of medians would not be one of what was measured together.
func TestBarsAreMediansOfTheRoundsRatios(t *testing.T) {
	var r Result
	single, batch := Case{Read, pinetree.ReadDefault, 16, 1}, Case{Read, pinetree.ReadDefault, 16, 64}
	bare := Case{Kind: Echo, Inflight: 16, Batch: 1}
	for round, speed := range []float64{1, 10, 9} {
		s := func(ops float64) Sample {
			return Sample{Round: round + 1, OpsPerSecond: ops * speed, PagesPerSecond: ops * speed, P50: 1 / speed, Degraded: 1}
		}
		r.add(bare, s(1000))
		r.add(single, s([]float64{800, 700, 760}[round]))
		r.add(batch, s([]float64{4100, 3100, 3300}[round]))
	}
	r.finish()
	if len(r.Cases) != 3 || r.Cases[0].Case != single || r.Cases[1].Case != batch || r.Cases[2].Case != bare {
		t.Fatalf("cases in the order %+v", r.Cases)
	}
	if m := r.Cases[0]; m.OpsPerSecond != 6840 || m.Degraded != 3 || len(m.Rounds) != 3 {
		t.Errorf("medians of %s: %+v", m.Case, m.Sample)
	}
	want := []Bar{
		{What: "reads/s, default ÷ echo, 16 in flight", Is: 0.76, Want: "≥ 0.75", Met: true},
		{What: "pages/s, 64 in a read ÷ single, 16 in flight", Is: 4.429, Want: "≥ 5"},
	}
	if len(r.Bars) != 2 || r.Bars[0] != want[0] || r.Bars[1] != want[1] {
		t.Errorf("bars %+v, want %+v", r.Bars, want)
	}
	var text strings.Builder
	if err := r.Print(&text); err != nil || !strings.Contains(text.String(), "missed") {
		t.Errorf("printed %s, %v", text.String(), err)
	}
}

func TestBarsCoverWhatIsJudged(t *testing.T) {
	cfg := Bars(Config{Pages: 10, PageBytes: 8192, Rounds: 1, Duration: time.Second})
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	var r Result
	for _, c := range cfg.cases() {
		r.add(c, Sample{OpsPerSecond: 1, PagesPerSecond: 1, P50: 1})
	}
	r.finish()
	wanted := 0
	for _, b := range r.Bars {
		if b.Want != "" {
			wanted++
		}
	}
	if len(r.Cases) != len(cfg.cases()) || wanted != 6 {
		t.Errorf("%d cases with %d bars, want %d with 6: %+v", len(r.Cases), wanted, len(cfg.cases()), r.Bars)
	}
}
