package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree/cmd/internal/benchread"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

// TestBenchReadMeasuresARealCluster holds the object to what scripts depend on,
// and its figures to each other. The run itself checks each page.
func TestBenchReadMeasuresARealCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	out := must(t, "bench", "read", "--json", "--engine", "memory", "--pages", "50", "--page-size", "1KiB", "--patches", "20", "--back", "5",
		"--read", "default,stale", "--inflight", "2", "--batch", "1,8", "--apart", "--echo", "--duration", "200ms", "--warmup", "50ms", "--dir", dir)
	var r benchread.Result
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	kinds := map[benchread.Kind]int{}
	for _, c := range r.Cases {
		kinds[c.Kind]++
		if c.OpsPerSecond <= 0 || c.PagesPerSecond < c.OpsPerSecond*float64(c.Batch)*0.99 || c.P50 <= 0 || c.P99 < c.P50 || c.CPUPerOp <= 0 || len(c.Rounds) != 1 {
			t.Errorf("figures that cannot be: %+v", c)
		}
	}
	if kinds[benchread.Read] != 6 || kinds[benchread.Echo] != 1 || kinds[benchread.Fetch] != 1 || len(r.Bars) != 6 {
		t.Errorf("measured %v with %d bars: %s", kinds, len(r.Bars), out)
	}
	if r.Config.PageBytes != 1024 || r.Config.Back != 5 || r.Config.Engine != "memory" {
		t.Errorf("settings: %+v", r.Config)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestBenchReadRefusesWhatCannotBe(t *testing.T) {
	for _, args := range [][]string{
		{"--pages", "0"}, {"--page-size", "8"}, {"--inflight", "0"}, {"--batch", "1,5000"}, {"--back", "1"}, {"--rounds", "0"},
		{"--read", "fresh"}, {"--bars", "--inflight", "4"}, {"--bars", "--apart"}, {"--target", "h:1", "--echo"}, {"--target", "h:1", "--engine", "wal"}, {"--engine", "abacus"},
	} {
		if o := run(t, append([]string{"bench", "read"}, args...)...); o.code != cli.ExitUsage || o.err == "" {
			t.Errorf("%s: %+v", strings.Join(args, " "), o)
		}
	}
}
