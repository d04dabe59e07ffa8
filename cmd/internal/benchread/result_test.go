package benchread

import (
	"slices"
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
	single := Case{Kind: Read, Level: pinetree.ReadDefault, Inflight: 16, Batch: 1, Apart: true}
	shared, batch := single, single
	shared.Apart, batch.Apart, batch.Batch = false, false, 64
	bare := Case{Kind: Echo, Inflight: 16, Batch: 1}
	for round, speed := range []float64{1, 10, 9} {
		s := func(ops float64) Sample {
			return Sample{Round: round + 1, OpsPerSecond: ops * speed, PagesPerSecond: ops * speed, P50: 1 / speed, Degraded: 1}
		}
		r.add(bare, s(1000))
		r.add(single, s([]float64{800, 700, 760}[round]))
		r.add(shared, s(1500))
		r.add(batch, s([]float64{4100, 3100, 3300}[round]))
	}
	r.finish()
	if len(r.Cases) != 4 || r.Cases[0].Case != shared || r.Cases[1].Case != single || r.Cases[2].Case != batch || r.Cases[3].Case != bare {
		t.Fatalf("cases in the order %+v", r.Cases)
	}
	if m := r.Cases[1]; m.OpsPerSecond != 6840 || m.Degraded != 3 || len(m.Rounds) != 3 {
		t.Errorf("medians of %s: %+v", m.Case, m.Sample)
	}
	want := []Bar{
		{What: "reads/s, default ÷ echo, 16 in flight", Is: 1.5, Met: true},
		{What: "reads/s, default, apart ÷ echo, 16 in flight", Is: 0.76, Want: "≥ 0.75", Met: true},
		{What: "pages/s, 64 in a read ÷ single, apart, 16 in flight", Is: 4.429, Want: "≥ 5"},
		{What: "pages/s, 64 in a read ÷ single, 16 in flight", Is: 2.2, Met: true},
	}
	if !slices.Equal(r.Bars, want) {
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
