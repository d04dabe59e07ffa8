package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree/cmd/internal/testbed"
)

// errInterrupted is what a run ends with that was not let to the end.
var errInterrupted = errors.New("interrupted; nothing was measured")

// Run starts the servers, or takes those that are named, loads them and says
// what it measured. Everything that it started has ended when it returns, also
// when ctx ends the run.
func Run(ctx context.Context, cfg Config) (result Result, err error) {
	if err := cfg.Check(); err != nil {
		return Result{}, err
	}
	defer func() {
		if ctx.Err() != nil {
			err = errInterrupted
		}
	}()
	ring, err := cfg.payloads()
	if err != nil {
		return Result{}, err
	}
	servers, err := testbed.Start(ctx, cfg.Config)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, servers.Close()) }()
	guarded, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	defer servers.Guard(fail)()
	r := &run{cfg: cfg, servers: servers, load: &load{cfg: cfg, ring: ring}, fail: fail}
	if err := r.run(guarded); err != nil {
		return Result{}, cause(guarded, err)
	}
	return r.result(), nil
}

// run is one run's course and what was found on the way.
type run struct {
	cfg     Config
	servers *testbed.Servers
	load    *load
	fail    context.CancelCauseFunc // ends the run

	cost      cost
	footprint footprint
	caughtUp  time.Duration
}

// run makes the volumes, opens their writers and puts the load on them.
func (r *run) run(ctx context.Context) (err error) {
	names, err := r.servers.Place(ctx, testbed.Layout{Groups: r.cfg.Groups, Volumes: r.cfg.Volumes, Format: r.cfg.Format})
	if err != nil {
		return err
	}
	if err := r.load.open(ctx, r.servers.Managers, names); err != nil {
		return err
	}
	defer func() {
		// After a failure, that not everything was acknowledged is no news.
		if closeErr := r.load.close(); err == nil {
			err = closeErr
		}
	}()
	fmt.Fprintf(r.cfg.Say, "%s; %v warm-up, %v measured\n", r.cfg, r.cfg.Warmup, r.cfg.Duration)
	return r.loaded(ctx)
}

// loaded loads, measures and waits until all replicas have everything.
func (r *run) loaded(ctx context.Context) (err error) {
	watcher := watch(r.servers, r.load, r.fail)
	defer func() { watcher.stop(err) }()
	profiler, err := startProfiler(r.servers, r.cfg)
	if err != nil {
		return err
	}
	defer profiler.close()
	stop := make(chan struct{})
	loading := r.load.start(ctx, stop, r.fail)
	err = r.measure(ctx, watcher, profiler)
	close(stop)
	loading.Wait()
	if err == nil {
		err = r.load.flush(ctx)
	}
	if err != nil {
		return err
	}
	acked := time.Now()
	if err := r.load.catchUp(ctx); err != nil {
		return err
	}
	r.caughtUp = time.Since(acked)
	if err := profiler.end(ctx); err != nil {
		return err
	}
	r.footprint, err = watcher.footprint()
	return err
}

// measure waits for the warm-up and measures after it.
func (r *run) measure(ctx context.Context, watcher *watcher, profiler *profiler) error {
	if err := pause(ctx, r.cfg.Warmup); err != nil {
		return err
	}
	from, err := use(ctx, r.servers, r.load)
	if err != nil {
		return err
	}
	watcher.sample(true)
	profiler.begin(ctx)
	r.load.phase.measured.Store(true)
	err = pause(ctx, r.cfg.Duration)
	r.load.phase.measured.Store(false)
	watcher.sample(false)
	if err != nil {
		return err
	}
	to, err := use(ctx, r.servers, r.load)
	r.cost = between(from, to)
	return err
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

// cause prefers what ended a context to the error of who was ended by it.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
