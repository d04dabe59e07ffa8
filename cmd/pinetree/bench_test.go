package main

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/bench"
	"github.com/pinetree-db/pinetree/cmd/internal/benchcompare"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/localcluster"
)

// TestBenchShipMeasuresARealCluster runs a short load and holds its object to
// what scripts depend on, and its figures to each other.
func TestBenchShipMeasuresARealCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir, profiles := t.TempDir(), t.TempDir()
	out := must(t, "bench", "ship", "--json", "--engine", "memory", "--record-size", "1KiB", "--format", "redo", "--inflight", "12",
		"--groups", "2", "--volumes", "3", "--duration", "1s", "--warmup", "200ms", "--dir", dir, "--cpuprofile-dir", profiles, "--allocs")
	t.Log(out)
	var fields map[string]json.RawMessage
	var r bench.Result
	if err := json.Unmarshal([]byte(out), &fields); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"bytes_written_per_payload_byte", "caught_up_ms", "config", "cpu_s", "cpu_s_per_100k", "fsyncs_per_commit", "log_disk_growth_mb", "log_disk_peak_mb",
		"mb_s", "ops_s", "p50_us", "p999_us", "p99_us", "records", "resumes", "rss_growth_mb", "rss_peak_mb", "seconds", "timed",
	}
	if got := slices.Sorted(maps.Keys(fields)); !slices.Equal(got, want) {
		t.Errorf("the fields are %v, want %v", got, want)
	}
	// By Little's law, workers = throughput × latency; the median stands in for
	// the mean, and the machine may be busy.
	if l := r.OpsPerSecond * r.P50 / 1e6; l < 2 || l > 24 {
		t.Errorf("%g records/s of %g µs each make %.1f outstanding, there were 12", r.OpsPerSecond, r.P50, l)
	}
	if mb := r.OpsPerSecond * 1024 / 1e6; r.MBPerSecond < mb*0.99 || r.MBPerSecond > mb*1.01 {
		t.Errorf("%g records/s are %g MB/s, said were %g", r.OpsPerSecond, mb, r.MBPerSecond)
	}
	if r.P99 < r.P50 || r.P999 < r.P99 || r.Seconds < 1 || r.Seconds > 5 || r.Records == 0 || r.Timed == 0 || r.Timed > r.Records {
		t.Errorf("figures that cannot be: %+v", r)
	}
	if *r.CPUPer100k <= 0 || r.CPU.Load <= 0 || *r.CPU.Nodes <= 0 || *r.FsyncsPerCommit <= 0 || *r.FsyncsPerCommit > 3 ||
		r.WrittenPerByte == nil || *r.WrittenPerByte < 1 || *r.RSSPeakMB < 10 || *r.LogDiskPeakMB < 0.1 {
		t.Errorf("costs that cannot be: %s", out)
	}
	if r.Config.Workers != 12 || r.Config.Groups != 2 || r.Config.Volumes != 3 || r.Config.Format != "redo" || r.Config.Engine != "memory" {
		t.Errorf("settings: %+v", r.Config)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, name := range []string{"load", "node1", "node2", "node3"} {
		for _, kind := range []string{".pprof", ".allocs.pprof", ".heap.pprof"} {
			if data, err := os.ReadFile(filepath.Join(profiles, name+kind)); err != nil || len(data) < 100 {
				t.Errorf("profile %s%s: %d bytes, %v", name, kind, len(data), err)
			}
		}
	}
}

// TestBenchShipLoadsAClusterThatRuns also holds a stream and a paced load to
// their shapes.
func TestBenchShipLoadsAClusterThatRuns(t *testing.T) {
	c, _ := startCluster(t, 3)
	measure := func(shape ...string) bench.Result {
		t.Helper()
		var r bench.Result
		args := append([]string{"bench", "ship", "--json", "--target", c.Manager.Addr, "--duration", "500ms", "--warmup", "100ms"}, shape...)
		if err := json.Unmarshal([]byte(must(t, args...)), &r); err != nil {
			t.Fatal(err)
		}
		if r.CPUPer100k != nil || r.RSSPeakMB != nil || r.Config.Engine != "" {
			t.Errorf("processes that cannot be observed have figures: %+v", r)
		}
		return r
	}
	if r := measure("--window", "64KiB"); r.Config.Mode != bench.Stream || r.Records < 64 || r.Timed > r.Records/8 {
		t.Errorf("stream: %+v", r)
	}
	if r := measure("--rate", "400"); r.Config.Mode != bench.Paced || r.OpsPerSecond < 200 || r.OpsPerSecond > 600 {
		t.Errorf("400 records a second: %+v", r)
	}
	t.Run("a replica that lags", func(t *testing.T) { testCaughtUp(t, c, measure) })
	if err := c.Failure(); err != nil {
		t.Errorf("a cluster that was there before does not go on: %v", err)
	}
}

// TestBenchShipComparesEngines also ships PostgreSQL's log to nodes that keep
// nothing of it, which no other node may do.
func TestBenchShipComparesEngines(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	out := must(t, "bench", "ship", "--json", "--compare", "wal,none", "--rounds", "1", "--wal", bench.SampleWAL, "--window", "1MiB",
		"--duration", "300ms", "--warmup", "100ms", "--dir", dir)
	var r benchcompare.Result
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Engines) != 2 || len(r.Ratios) != 1 || r.Ratios[0].Of != "wal" || r.Ratios[0].To != "none" || r.Ratios[0].Want != 0.9 {
		t.Fatalf("compared: %s", out)
	}
	for _, e := range r.Engines {
		one := e.Rounds[0]
		// A record of PostgreSQL's has a header of 24 bytes and hardly more than a page.
		if mean := one.MBPerSecond * 1e6 / one.OpsPerSecond; mean < 24 || mean > 9000 || e.MBPerSecond != one.MBPerSecond || one.Config.WAL != bench.SampleWAL || one.Config.Engine != e.Name {
			t.Errorf("%s: records of %.0f bytes: %+v", e.Name, mean, one)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, args := range [][]string{
		{"node", "--dir", dir, "--listen", "127.0.0.1:0", "--manager", "127.0.0.1:1", "--engine", "none"},
		{"rebuild", "--dir", dir, "--engine", "none"},
		{"bench", "read", "--engine", "none"},
		{"bench", "ship", "--compare", "wal"},
		{"bench", "ship", "--compare", "wal,abacus"},
		{"bench", "ship", "--compare", "wal,none", "--engine", "wal"},
		{"bench", "ship", "--wal", bench.SampleWAL, "--record-size", "1KiB"},
		{"bench", "ship", "--wal", bench.SampleWAL, "--format", "redo"},
	} {
		if o := run(t, args...); o.code != cli.ExitUsage || o.err == "" {
			t.Errorf("%s: %+v", strings.Join(args, " "), o)
		}
	}
}

// testCaughtUp stops a follower during a load: a run that ends before the
// follower goes on has not waited for it.
func testCaughtUp(t *testing.T, c *localcluster.Cluster, measure func(...string) bench.Result) {
	type volume struct {
		Volume    int          `json:"volume"`
		Leader    int          `json:"leader"`
		Committed pinetree.LSN `json:"committed"`
	}
	before := len(parsed[[]volume](t, "clustermgr", "volume", "ls"))
	const pause = 2 * time.Second
	paused := make(chan error, 1)
	go func() {
		paused <- func() error {
			for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
				o := run(t, "clustermgr", "volume", "ls", "-o", "json")
				var volumes []volume
				if o.code != cli.ExitDone || json.Unmarshal([]byte(o.out), &volumes) != nil || len(volumes) == before {
					continue
				}
				newest := slices.MaxFunc(volumes, func(a, b volume) int { return a.Volume - b.Volume })
				if newest.Leader == 0 || newest.Committed == 0 {
					continue
				}
				follower := c.Node(pinetree.NodeID(newest.Leader%3 + 1)).Pid()
				if err := syscall.Kill(follower, syscall.SIGSTOP); err != nil {
					return err
				}
				time.Sleep(pause)
				return syscall.Kill(follower, syscall.SIGCONT)
			}
			return errors.New("the load never began")
		}()
	}()
	r := measure("--inflight", "4", "--warmup", "500ms")
	if err := <-paused; err != nil {
		t.Fatal(err)
	}
	if least := pause - time.Second - 200*time.Millisecond; r.CaughtUpMS < float64(least.Milliseconds()) {
		t.Errorf("a replica stood still for %v and the load went on for at most 1 s, yet all had caught up after %g ms", pause, r.CaughtUpMS)
	}
}

// startBench starts a measurement of a minute as a process, and returns it with
// what it says and the addresses of its nodes.
func startBench(t *testing.T, dir string) (*exec.Cmd, *strings.Builder, []string) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes")
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c, said := exec.Command(binary, "bench", "ship", "--engine", "memory", "--inflight", "4", "--duration", "1m", "--dir", dir), new(strings.Builder)
	c.Stderr = said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() }) // it may have ended
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if addresses := listening(t, dir); len(addresses) == 3 {
			return c, said, addresses
		}
	}
	t.Fatal("no nodes were started")
	return nil, nil, nil
}

func TestInterruptedBenchLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	c, said, addresses := startBench(t, dir)
	if err := c.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil || !strings.Contains(said.String(), "interrupted") {
		t.Errorf("an interrupted measurement ended with %v and said %s", err, said.String())
	}
	refused(t, addresses)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v; it said %s", left, err, said.String())
	}
}

// TestBenchEndsWithANode: without a replica a measurement is not the one that
// was asked for.
func TestBenchEndsWithANode(t *testing.T) {
	dir := t.TempDir()
	c, said, addresses := startBench(t, dir)
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(lines) == 0 {
		t.Skip("needs /proc")
	}
	killed := 0
	for _, path := range lines {
		line, err := os.ReadFile(path)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path))) // digits, by the pattern
		if err == nil && strings.Contains(string(line), "\x00node\x00") && strings.Contains(string(line), addresses[2]) {
			killed++
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	began := time.Now()
	if err := c.Wait(); err == nil || !strings.Contains(said.String(), "has ended") || killed != 1 {
		t.Errorf("%d nodes were killed; it ended with %v and said %s", killed, err, said.String())
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it went on for %v", took)
	}
	refused(t, addresses)
}

// listening finds the addresses of the nodes that serve, in their logs.
func listening(t *testing.T, dir string) []string {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*", "logs", "node-*.log"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		for line := range strings.Lines(string(text)) {
			if _, rest, has := strings.Cut(line, " address="); has && strings.Contains(line, "msg=serves ") {
				found = append(found, strings.Fields(rest)[0])
			}
		}
	}
	return found
}
