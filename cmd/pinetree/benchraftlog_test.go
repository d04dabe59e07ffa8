package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/pinetree-db/pinetree/cmd/internal/backends"
	"github.com/pinetree-db/pinetree/cmd/internal/benchlog"
)

func TestBenchRaftlogComparesEveryStore(t *testing.T) {
	dir := t.TempDir()
	out := must(t, "bench", "raftlog", "--json", "--dir", dir, "--batches", "1,4", "--sizes", "100", "--duration", "20ms", "--warm", "1000")
	var results []benchlog.Result
	if err := json.Unmarshal([]byte(out), &results); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	seen := map[string]int{}
	for _, r := range results {
		seen[r.Store]++
		if r.Entries <= 0 || r.Bytes != 100 {
			t.Errorf("%+v", r)
		}
	}
	for name := range backends.RaftLogs {
		if seen[name] != 2 {
			t.Errorf("%s was measured %d times", name, seen[name])
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
