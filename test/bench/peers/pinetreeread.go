package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/pinetree-db/pinetree/test/bench/peers/load"
)

// pageReads is what `pinetree bench read` says of one case.
type pageReads struct {
	Cases []struct {
		OpsPerSecond float64 `json:"ops_s"`
		P50          float64 `json:"p50_us"`
		P99          float64 `json:"p99_us"`
		P999         float64 `json:"p999_us"`
		CPUPerOp     float64 `json:"cpu_us_per_op"`
		Degraded     int64   `json:"degraded"`
	} `json:"cases"`
}

// maxDegraded is the share of reads that may have found no lease. More, and it was
// not reads under a lease that were measured.
const maxDegraded = 0.01

// read measures default reads of pages, by the leader under its lease.
func (p *pinetree) read(ctx context.Context, name, dir string, cfg load.Config) (load.Result, error) {
	args := []string{
		"bench", "read", "--json", "--dir", dir, "--read", "default", "--batch", "1", "--rounds", "1",
		"--pages", strconv.Itoa(load.Values), "--page-size", strconv.Itoa(cfg.RecordSize), "--inflight", strconv.Itoa(cfg.Inflight),
		"--warmup", cfg.Warmup.String(), "--duration", cfg.Duration.String(),
	}
	if _, engine, ok := strings.Cut(name, ":"); ok {
		args = append(args, "--engine", engine)
	}
	var said pageReads
	if err := p.run(ctx, cfg, args, &said); err != nil {
		return load.Result{}, err
	}
	return said.result(cfg)
}

// result is that of the one case that was measured.
func (r pageReads) result(cfg load.Config) (load.Result, error) {
	if len(r.Cases) != 1 {
		return load.Result{}, fmt.Errorf("`pinetree bench read` measured %d cases, and not the one that was asked for", len(r.Cases))
	}
	c := r.Cases[0]
	if reads := c.OpsPerSecond * cfg.Duration.Seconds(); float64(c.Degraded) > maxDegraded*reads {
		return load.Result{}, fmt.Errorf("%d of about %.0f default reads found no lease and asked a quorum; reads under a lease were to be measured", c.Degraded, reads)
	}
	return load.Result{
		OpsPerSecond: c.OpsPerSecond, MBPerSecond: c.OpsPerSecond * float64(cfg.RecordSize) / 1e6,
		P50: c.P50, P99: c.P99, P999: c.P999, CPUPer100k: c.CPUPerOp * 1e5 / 1e6,
	}, nil
}
