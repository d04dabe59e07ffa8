package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// processorTime is how long the nodes have computed, those that were killed not
// counted.
func (c *cluster) processorTime() (total time.Duration) {
	c.t.Helper()
	for _, n := range c.nodes {
		if n.running() {
			total += processorTime(c.t, n.cmd)
		}
	}
	return total
}

// processorTime is how long a process has computed.
func processorTime(t *testing.T, cmd *exec.Cmd) time.Duration {
	t.Helper()
	path := fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid)
	stat, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The name, in brackets, may have spaces. Times are fields 14 and 15 of all.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const tick = 10 * time.Millisecond
	var total time.Duration
	for _, i := range []int{14 - 3, 15 - 3} {
		ticks, err := strconv.ParseInt(string(fields[i]), 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		total += time.Duration(ticks) * tick
	}
	return total
}
