package main

import (
	"testing"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

// TestRebuildRefusesStoresInMemory: it would put the damaged engine away and nothing
// into its place, or go by a raft log that knows of no vote.
func TestRebuildRefusesStoresInMemory(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"--engine", "memory"}, {"--raftlog", "memory"}} {
		if o := run(t, append([]string{"rebuild", "--dir", dir}, args...)...); o.code != cli.ExitUsage {
			t.Errorf("%v: exit code %d: %s", args, o.code, o.err)
		}
	}
}
