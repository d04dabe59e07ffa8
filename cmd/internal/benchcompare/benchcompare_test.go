package benchcompare

import (
	"context"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/bench"
)

func config(rounds int, engines ...string) Config {
	return Config{
		Engines: engines, Rounds: rounds, Say: io.Discard, With: func(string, *bench.Config) {},
		Load: bench.Config{RecordBytes: 128, Workers: 1, Together: 1, Duration: time.Second, Groups: 1, Volumes: 1, Format: pinetree.FormatOpaque},
	}
}

// TestRatiosAreThoseOfTheRounds: of a machine that becomes slower from round to
// round the ratio of medians would say something else than the median of ratios.
func TestRatiosAreThoseOfTheRounds(t *testing.T) {
	figures := map[string][]float64{"wal": {100, 80, 90}, "none": {100, 100, 150}}
	var order []string
	c := config(3, "wal", "none")
	changed := 0
	c.With = func(engine string, load *bench.Config) { changed += len(engine); load.Allocs = true }
	r, err := Run(t.Context(), c, func(_ context.Context, load bench.Config) (bench.Result, error) {
		order = append(order, load.Engine)
		next := figures[load.Engine][0]
		figures[load.Engine] = figures[load.Engine][1:]
		if !load.Allocs {
			t.Errorf("the load of %s was not changed", load.Engine)
		}
		r := bench.Result{MBPerSecond: next, P50: next / 10, Seconds: 2}
		nodes, manager := next/50, next/100
		r.CPU.Load, r.CPU.Nodes, r.CPU.Manager = next/100, &nodes, &manager
		return r, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"wal", "none", "none", "wal", "wal", "none"}; !slices.Equal(order, want) {
		t.Errorf("the order is %v, want %v", order, want)
	}
	q := r.Ratios[0]
	if len(r.Ratios) != 1 || q.Of != "wal" || q.To != "none" || math.Abs(q.Median-0.8) > 1e-9 || q.Lowest != 0.6 || q.Highest != 1 || q.Want != 0.9 || q.Met {
		t.Errorf("ratios: %+v", r.Ratios)
	}
	if e := r.Engines[0]; e.Name != "wal" || e.MBPerSecond != 90 || e.P50 != 9 || math.Abs(e.CPUPerGB-20) > 1e-9 || len(e.Rounds) != 3 {
		t.Errorf("medians: %+v", e)
	}
	var text strings.Builder
	if err := r.Print(&text); err != nil || !strings.Contains(text.String(), "wal ÷ none") || !strings.Contains(text.String(), "missed") {
		t.Errorf("%v:\n%s", err, text.String())
	}
}

func TestWhatCannotBeComparedIsRefused(t *testing.T) {
	for name, c := range map[string]Config{
		"one engine": config(1, "wal"), "twice the same": config(1, "wal", "none", "wal"), "no round": config(0, "wal", "none"),
	} {
		_, err := Run(t.Context(), c, func(context.Context, bench.Config) (bench.Result, error) {
			t.Errorf("%s was measured", name)
			return bench.Result{}, nil
		})
		if err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
