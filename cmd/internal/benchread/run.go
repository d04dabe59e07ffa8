package benchread

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/cmd/internal/testbed"
)

// fillTimeout bounds the writing of the pages.
const fillTimeout = 10 * time.Minute

// Run starts the servers, or takes those that are named, writes the pages, and
// measures each case in every round. Everything that it started has ended when it
// returns, also when ctx ends the run.
func Run(ctx context.Context, cfg Config) (result Result, err error) {
	if err := cfg.Check(); err != nil {
		return result, err
	}
	servers, err := testbed.Start(ctx, cfg.Config)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, servers.Close()) }()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	defer servers.Guard(fail)()
	filling, cancel := context.WithTimeout(ctx, fillTimeout)
	defer cancel()
	volume, err := fill(filling, servers, cfg)
	if err != nil {
		return result, cause(ctx, err)
	}
	defer func() { err = errors.Join(err, volume.close()) }()
	r := &run{cfg: cfg, servers: servers, volume: volume}
	if cfg.Echo {
		dir, err := os.MkdirTemp(cfg.Dir, "pinetree-echo-")
		if err != nil {
			return result, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if r.echo, err = startEcho(ctx, dir, cfg.PageBytes); err != nil {
			return result, cause(ctx, err)
		}
		defer func() { err = errors.Join(err, r.echo.close()) }()
	}
	result.Config = cfg.settings()
	for round := range cfg.Rounds {
		all := cfg.cases()
		for _, i := range rand.Perm(len(all)) {
			sample, err := r.measure(ctx, all[i])
			if err != nil {
				return result, cause(ctx, fmt.Errorf("%s: %w", all[i], err))
			}
			sample.Round = round + 1
			fmt.Fprintf(cfg.Say, "round %d, %s: %.0f/s, p50 %.0f µs\n", round+1, all[i], sample.OpsPerSecond, sample.P50)
			result.add(all[i], sample)
		}
	}
	result.finish()
	return result, nil
}

// cause prefers what ended a context to the error of who was ended by it.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// run is what the cases are measured on.
type run struct {
	cfg     Config
	servers *testbed.Servers
	volume  *filled
	echo    *echo // nil when it is not measured
}

// call is one call of a case; random is the caller's own. It tells whether a
// default read found no lease.
type call func(ctx context.Context, random *rand.Rand) (degraded bool, err error)

// measure runs a closed loop of one case.
func (r *run) measure(ctx context.Context, c Case) (Sample, error) {
	do := r.call(c)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var stopped, measured atomic.Bool
	var calls, degraded atomic.Int64
	took := testbed.NewLatencies()
	var workers sync.WaitGroup
	for i := range c.Inflight {
		random := rand.New(rand.NewPCG(uint64(i), rand.Uint64()))
		workers.Go(func() {
			for !stopped.Load() {
				began := time.Now()
				without, err := do(ctx, random)
				if err != nil {
					fail(err)
					return
				}
				if measured.Load() {
					took.Record(time.Since(began))
					calls.Add(1)
					if without {
						degraded.Add(1)
					}
				}
			}
		})
	}
	defer workers.Wait()
	defer stopped.Store(true)
	if err := pause(ctx, r.cfg.Warmup); err != nil {
		return Sample{}, err
	}
	cpu, err := r.cpu()
	if err != nil {
		return Sample{}, err
	}
	began := time.Now()
	measured.Store(true)
	err = pause(ctx, r.cfg.Duration)
	measured.Store(false)
	seconds := time.Since(began).Seconds()
	used, cpuErr := r.cpu()
	if err = errors.Join(err, cpuErr); err != nil {
		return Sample{}, err
	}
	n := float64(calls.Load())
	return Sample{
		OpsPerSecond: n / seconds, PagesPerSecond: n * float64(c.Batch) / seconds,
		P50: took.Quantile(50), P99: took.Quantile(99), P999: took.Quantile(99.9),
		CPUPerOp: float64((used - cpu).Microseconds()) / max(n, 1), Degraded: degraded.Load(),
	}, nil
}

// cpu is the time that this process, the nodes and the echo have used; only this
// process's where others cannot be looked at.
func (r *run) cpu() (time.Duration, error) {
	total, err := testbed.OwnCPU()
	if err != nil || !testbed.Observable() {
		return total, err
	}
	processes := r.servers.Nodes()
	if r.echo != nil {
		processes = append(processes[:len(processes):len(processes)], r.echo.process)
	}
	for _, p := range processes {
		used, err := testbed.Process(p.Pid()).CPU()
		if err != nil {
			return 0, fmt.Errorf("%s: %w", p.Name, err)
		}
		total += used
	}
	return total, nil
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// call is what a case repeats.
func (r *run) call(c Case) call {
	switch c.Kind {
	case Echo:
		return func(ctx context.Context, _ *rand.Rand) (bool, error) { return false, r.echo.there(ctx) }
	case Fetch:
		return func(ctx context.Context, _ *rand.Rand) (bool, error) { return false, r.echo.fetch(ctx) }
	}
	client := r.volume.client
	if c.Apart {
		client = r.volume.apart
	}
	reader := client.Reader(ship.ReadConfig{Level: c.Level, At: r.volume.at})
	if c.Batch == 1 {
		return func(ctx context.Context, random *rand.Rand) (bool, error) {
			page := pinetree.PageNo(random.IntN(r.cfg.Pages))
			read, err := reader.Page(ctx, page)
			if err == nil {
				err = r.check(page, read.Page)
			}
			return read.Level != c.Level, err
		}
	}
	return func(ctx context.Context, random *rand.Rand) (bool, error) {
		// A run of neighbours, as a scan reads, around the end of the volume.
		first := random.IntN(r.cfg.Pages)
		pages := make([]pinetree.PageNo, c.Batch)
		for i := range pages {
			pages[i] = pinetree.PageNo((first + i) % r.cfg.Pages)
		}
		read, err := reader.Pages(ctx, pages)
		if err != nil {
			return false, err
		}
		for i, p := range read.Pages {
			if err := r.check(pages[i], p.Page); err != nil {
				return false, err
			}
		}
		return read.Level != c.Level, nil
	}
}

// check tells a page that is not the one that was asked for.
func (r *run) check(page pinetree.PageNo, got []byte) error {
	if len(got) != r.cfg.PageBytes || binary.BigEndian.Uint64(got) != uint64(page) {
		return fmt.Errorf("%w: page %d was answered with %d bytes, %d were written, or with another page", pinetree.ErrCorrupt, page, len(got), r.cfg.PageBytes)
	}
	return nil
}
