package bench

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/testbed"
)

// watcher looks at the run while it goes on: it samples memory and disk of the
// nodes, shows progress, and ends the run when a writer has failed. It has one
// goroutine, which ends with stop.
type watcher struct {
	servers *testbed.Servers
	load    *load
	meter   *cli.Meter // nil when progress is not shown
	every   time.Duration
	fail    context.CancelCauseFunc

	ended   chan struct{}
	watches sync.WaitGroup

	mu       sync.Mutex
	sampling bool
	memory   [][]int64 // bytes, by node, one after the other in time
	logs     [][]int64 // bytes of the files of the raft log, in the same way
	broken   error     // why there are no samples
}

// samplesPerRun is about how many samples are taken, as far as sampleBounds
// allow.
const samplesPerRun = 200

const minSampleEvery, maxSampleEvery = 100 * time.Millisecond, time.Second

// watch begins to watch; fail ends the run.
func watch(s *testbed.Servers, l *load, fail context.CancelCauseFunc) *watcher {
	w := &watcher{
		servers: s, load: l, fail: fail, ended: make(chan struct{}), memory: make([][]int64, len(s.Nodes())), logs: make([][]int64, len(s.Nodes())),
		every: min(max(l.cfg.Duration/samplesPerRun, minSampleEvery), maxSampleEvery),
	}
	if l.cfg.Meter {
		w.meter = cli.NewMeter(cli.Target{What: "acknowledged"})
	}
	w.watches.Go(w.run)
	return w
}

// sample says whether memory and disk are sampled from now on.
func (w *watcher) sample(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sampling = on
}

// stop ends the watching and waits for that.
func (w *watcher) stop(err error) {
	close(w.ended)
	w.watches.Wait()
	if w.meter != nil {
		w.meter.Done(w.bytes(), err)
	}
}

func (w *watcher) bytes() int64 { return w.load.bytes() }

func (w *watcher) run() {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		select {
		case <-w.ended:
			return
		case <-tick.C:
		}
		if err := w.load.failure(); err != nil {
			w.fail(err)
		}
		if w.meter != nil {
			w.meter.At(w.bytes())
		}
		w.look()
	}
}

// look takes a sample, if it is time for some.
func (w *watcher) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.sampling || !observable(w.servers) {
		return
	}
	for i, p := range w.servers.Nodes() {
		resident, _, err := testbed.Process(p.Pid()).Resident()
		if err == nil {
			w.memory[i] = append(w.memory[i], resident)
			var logged int64
			logged, err = testbed.FolderBytes(filepath.Join(p.Dir, "raftlog"))
			w.logs[i] = append(w.logs[i], logged)
		}
		if err != nil {
			w.broken = err
		}
	}
}

// footprint is what the nodes took in bytes, each figure that of the node with
// most of it.
type footprint struct {
	rssPeak            int64 // of the whole life
	rssGrowth          int64 // within the measured interval, as all that follow
	logPeak, logGrowth int64
}

// footprint sums up the samples; the nodes must still run.
func (w *watcher) footprint() (footprint, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := footprint{rssGrowth: most(w.memory, growth), logGrowth: most(w.logs, growth), logPeak: most(w.logs, peak)}
	for _, p := range w.servers.Nodes() {
		_, all, err := testbed.Process(p.Pid()).Resident()
		if err != nil {
			return f, err
		}
		f.rssPeak = max(f.rssPeak, all)
	}
	return f, w.broken
}

// most is the largest figure of several series; zero without any.
func most(series [][]int64, figure func([]int64) int64) int64 {
	var found int64
	for i, s := range series {
		if v := figure(s); i == 0 || v > found {
			found = v
		}
	}
	return found
}

// peak is the largest of a series; zero when it is empty.
func peak(series []int64) int64 {
	var found int64
	for _, v := range series {
		found = max(found, v)
	}
	return found
}

// growth compares the last quarter of a series with the second one, by their
// medians: the first quarter is left out because caches fill in it, and a
// median is not moved by where a collection of garbage happens to be.
func growth(series []int64) int64 {
	n := len(series)
	if n < 4 {
		return 0
	}
	return median(series[n-n/4:]) - median(series[n/4:n/4+n/4])
}

func median(of []int64) int64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}
