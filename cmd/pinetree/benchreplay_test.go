package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/pinetree-db/pinetree/cmd/internal/benchreplay"
)

func TestBenchReplayMeasuresEachEngine(t *testing.T) {
	dir := t.TempDir()
	out := must(t, "bench", "replay", "--json", "--dir", dir, "--engine", "badger,pebble", "--bytes", "1MiB", "--pages", "100", "--hot", "50")
	var results []benchreplay.Result
	if err := json.Unmarshal([]byte(out), &results); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	for i, r := range results {
		if want := []string{"badger", "pebble"}[i]; r.Engine != want || r.MB < 1.04 || r.MB > 1.05 || r.MBPerSecond <= 0 || r.CPUSeconds <= 0 {
			t.Errorf("%+v, want figures of %s for 1 MiB", r, want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 || len(results) != 2 {
		t.Errorf("%d results, %v is left, %v", len(results), left, err)
	}
	for _, args := range [][]string{{"--engine", "wal"}, {"--raftlog", "memory"}, {"--patch-size", "9000"}, {"--pages", "0"}} {
		if err := run(t, append([]string{"bench", "replay", "--dir", dir}, args...)...); err.code != 2 {
			t.Errorf("%v: %+v, want a usage error", args, err)
		}
	}
}
