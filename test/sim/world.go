package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/test/sim/history"
)

// World is one run. Everything in it belongs to the goroutine that calls Run.
type World struct {
	cfg   Config
	plan  plan
	rng   *rand.Rand
	now   time.Duration // true time since the start
	queue events
	order uint64
	trace trace
	marks Marks
	hist  *history.History

	net      network
	etcd     etcd
	nodes    []*node
	managers []*manager
	volumes  []*volume
	readers  []*reader
	clients  address // the last address given
	truths   map[pinetree.GroupID]*truth
	operator *operator // nil where members do not change
	calm     bool      // faults are over
	closing  bool      // nobody writes any more
	scribes  []*scribe
	tailers  []*tailer // only where logs are given up
}

// event is something that happens at a true time.
type event struct {
	at    time.Duration
	order uint64 // among those of one instant
	do    func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = event{}
	*q = (*q)[:last]
	return e
}

// after lets something happen when a true time has passed.
func (w *World) after(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.queue, event{at: w.now + max(0, d), order: w.order, do: do})
}

// every repeats something at about the same pace, for ever.
func (w *World) every(pace time.Duration, do func()) {
	w.after(w.around(pace), func() {
		do()
		w.every(pace, do)
	})
}

// runUntil lets events happen until a true time, a breach, or done.
func (w *World) runUntil(end time.Duration, done func() bool) {
	for len(w.queue) > 0 && w.queue[0].at <= end && w.hist.Breach() == nil && !done() {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
	}
	if w.hist.Breach() == nil && !done() {
		w.now = end
	}
}

// guarded turns a panic, raft's included, into a breach.
func (w *World) guarded(run func()) {
	defer func() {
		if p := recover(); p != nil {
			w.hist.Fail("panic: %v\n%s", p, debug.Stack())
		}
	}()
	run()
}

// chance is true with a probability.
func (w *World) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// span is a duration of a range, evenly.
func (w *World) span(r between) time.Duration {
	if r.most <= r.least {
		return r.least
	}
	return r.least + time.Duration(w.rng.Int64N(int64(r.most-r.least)+1))
}

// around is a duration within a tenth of d.
func (w *World) around(d time.Duration) time.Duration {
	return w.span(between{d - d/10, d + d/10})
}

// between is a range of durations, both ends included.
type between struct{ least, most time.Duration }

// pick chooses one of a list.
func pick[T any](w *World, list []T) T { return list[w.rng.IntN(len(list))] }

// mark notes that something interesting happened.
func (w *World) mark(m Mark) { w.marks[m]++ }

// note adds a line to the trace and to the sum of the history.
func (w *World) note(who, what string, numbers ...uint64) {
	w.trace.add(line{at: w.now, who: who, what: what, numbers: numbers})
}

func (w *World) fail(format string, args ...any) { w.hist.Fail(format, args...) }

// String names the run.
func (w *World) String() string { return fmt.Sprintf("seed %d at %v", w.cfg.Seed, w.now) }
