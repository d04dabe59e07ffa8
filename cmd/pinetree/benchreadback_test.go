package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree/cmd/internal/benchback"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

func TestBenchReadBack(t *testing.T) {
	dir := t.TempDir()
	o := run(t, "bench", "readback", "--json", "--bytes", "2MiB", "--rounds", "1", "--dir", dir)
	if o.code == cli.ExitUsage && strings.Contains(o.err, "was in memory") {
		t.Skip(o.err)
	}
	var r benchback.Result
	if err := json.Unmarshal([]byte(o.out), &r); err != nil || o.code != cli.ExitDone {
		t.Fatalf("%v in %+v", err, o)
	}
	if len(r.Kinds) != 3 || len(r.Ratios) != 2 || r.Batch != 64<<10 || r.Write != 1<<20 || r.Slice != 1<<20 {
		t.Errorf("%+v", r)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	if o := run(t, "bench", "readback", "--rounds", "0", "--dir", dir); o.code != cli.ExitUsage {
		t.Errorf("no rounds: %+v", o)
	}
}
