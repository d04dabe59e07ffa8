package adapter

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pinetree-db/pinetree"
)

// world is a volume small enough to look at every state of it: writers of
// rising compute terms, the leader's queue, the raft log between it and one
// replica, and what the replica replayed. Its actions are those of a group;
// after each it checks the promises. The raft log holds committed entries only:
// what is lost is lost before it.
type world struct {
	writers []writer
	fences  pinetree.ComputeTerm // highest term ever asked for
	queue   Queue
	log     []entry
	at      pinetree.VolumePosition
	applied []pinetree.Batch
}

// writer ships three batches from where its term began.
type writer struct {
	term  pinetree.ComputeTerm
	start pinetree.LSN
}

// entry is a fence when its fence's term is not zero, else a batch.
type entry struct {
	fence Fence
	batch pinetree.Batch
}

const (
	chainLength = 3
	worldTerms  = 3
	worldBase   = 100
)

func newWorld() *world {
	w := &world{}
	w.queue = *NewQueue(w.at, Limits{MaxHeldBatches: 2, MaxHeldBytes: 100})
	return w
}

// batch i of a writer. Terms cut their logs differently, so that batches of one
// never fit into the chain of another by chance.
func (wr writer) batch(i int) pinetree.Batch {
	step := pinetree.LSN(10 + wr.term)
	prev := wr.start + pinetree.LSN(i)*step
	return pinetree.Batch{Term: wr.term, Prev: prev, LSN: prev + step, Count: 1, Encoded: make([]byte, 1)}
}

// actions lists what can happen next.
func (w *world) actions() map[string]func() error {
	next := map[string]func() error{"lead": w.lead}
	if w.fences < worldTerms {
		next["open"] = func() error { return w.open(false) }
		next["open, lost"] = func() error { return w.open(true) }
	}
	if w.queue.Ready() {
		next["take"] = func() error { return w.take(false) }
		next["take, lost"] = func() error { return w.take(true) }
	}
	if len(w.log) > 0 {
		next["apply"] = w.apply
	}
	for _, wr := range w.writers {
		for i := range chainLength {
			next[fmt.Sprintf("offer %d of term %d", i, wr.term)] = func() error { return w.offer(wr.batch(i)) }
		}
	}
	return next
}

func (w *world) open(lost bool) error {
	w.fences++
	w.queue.Open(w.fences)
	if lost {
		w.queue.Reset(w.at)
		return nil
	}
	w.log = append(w.log, entry{fence: Fence{Term: w.fences, Base: worldBase}})
	return nil
}

func (w *world) take(lost bool) error {
	taken := w.queue.Take(1)
	if lost {
		w.queue.Reset(w.at)
		return nil
	}
	for _, b := range taken {
		w.log = append(w.log, entry{batch: b})
	}
	return nil
}

func (w *world) offer(b pinetree.Batch) error {
	verdict, err := w.queue.Offer(b)
	switch {
	case errors.Is(err, pinetree.ErrQueueFull):
		if len(w.queue.ready)+len(w.queue.held) < w.queue.limits.MaxHeldBatches || b.Prev == w.queue.tail && !w.queue.Ready() {
			return fmt.Errorf("refused without need: %w", err)
		}
	case errors.Is(err, pinetree.ErrStaleComputeTerm):
		if w.queue.Term() <= b.Term {
			return err
		}
	case errors.Is(err, pinetree.ErrBadBatch):
		// A queue that lost sight of a fence refuses the newer writer.
		if w.queue.Term() >= b.Term {
			return err
		}
	case err != nil:
		return err
	case verdict == Duplicate && !w.somewhere(b):
		return fmt.Errorf("%s of term %d is called a duplicate and is nowhere", span(b), b.Term)
	}
	return nil
}

func (w *world) somewhere(b pinetree.Batch) bool {
	same := func(o pinetree.Batch) bool { return o.Term == b.Term && o.Prev == b.Prev && o.LSN == b.LSN }
	return slices.ContainsFunc(w.applied, same) || slices.ContainsFunc(w.queue.ready, same) ||
		slices.ContainsFunc(w.queue.held, same) ||
		slices.ContainsFunc(w.log, func(e entry) bool { return same(e.batch) })
}

func (w *world) apply() error {
	e := w.log[0]
	w.log = w.log[1:]
	if e.fence.Term != 0 {
		var opened bool
		if w.at, opened = OpenTerm(w.at, e.fence); opened {
			w.writers = append(w.writers, writer{term: e.fence.Term, start: w.at.LSN})
			w.queue.Reset(w.at)
		}
		return nil
	}
	b := e.batch
	known := slices.ContainsFunc(w.applied, func(o pinetree.Batch) bool { return o.Term == b.Term && o.LSN == b.LSN })
	switch decision := Decide(w.at, b); {
	case decision == Hole:
		return fmt.Errorf("%s of term %d is a hole at %s", span(b), b.Term, w.at.LSN)
	case decision == SkipReplayed && !known:
		return fmt.Errorf("%s of term %d is skipped as replayed and never was", span(b), b.Term)
	case decision == Apply && (known || b.Term != w.at.Term() || b.Prev != w.at.LSN):
		return fmt.Errorf("%s of term %d is applied at %s of term %d", span(b), b.Term, w.at.LSN, w.at.Term())
	case decision == Apply:
		w.applied = append(w.applied, b)
		w.at.LSN = b.LSN
	}
	return nil
}

// lead makes a new leader, which has applied the whole log when it begins.
func (w *world) lead() error {
	for len(w.log) > 0 {
		if err := w.apply(); err != nil {
			return err
		}
	}
	w.queue.Reset(w.at)
	return nil
}

// check compares what Resolve says of each append with what happened, and lets
// the open writer finish on a copy of the world: it must always get there.
func (w *world) check() error {
	if wrong := w.queue.disorder(); wrong != "" {
		return errors.New(wrong)
	}
	for _, wr := range w.writers {
		for i := range chainLength {
			if err := w.checkResolve(wr.batch(i)); err != nil {
				return err
			}
		}
	}
	return w.clone().finish()
}

func (w *world) checkResolve(b pinetree.Batch) error {
	want := NotCommitted
	if b.Term < w.at.Term() {
		want = Rejected
	}
	if slices.ContainsFunc(w.applied, func(o pinetree.Batch) bool { return o.Term == b.Term && o.LSN == b.LSN }) {
		want = Committed
	}
	if got, err := Resolve(w.at, Append{Term: b.Term, LSN: b.LSN}); err != nil || got != want {
		return fmt.Errorf("append %s of term %d is %s, Resolve says %s, %v", span(b), b.Term, want, got, err)
	}
	return nil
}

func (w *world) finish() error {
	if err := w.lead(); err != nil || len(w.writers) == 0 {
		return err
	}
	last := w.writers[len(w.writers)-1]
	for range chainLength {
		for i := chainLength - 1; i >= 0; i-- {
			if err := w.offer(last.batch(i)); err != nil {
				return err
			}
		}
		for w.queue.Ready() {
			if err := w.take(false); err != nil {
				return err
			}
		}
	}
	if err := w.lead(); err != nil {
		return err
	}
	if end := last.batch(chainLength - 1).LSN; w.at.LSN != end {
		return fmt.Errorf("the writer of term %d cannot get beyond %s to %s", last.term, w.at.LSN, end)
	}
	return nil
}

func (w *world) clone() *world {
	c := *w
	c.writers, c.log, c.applied = slices.Clone(w.writers), slices.Clone(w.log), slices.Clone(w.applied)
	c.queue.ready, c.queue.held = slices.Clone(w.queue.ready), slices.Clone(w.queue.held)
	return &c
}

// key is equal for worlds that behave alike.
func (w *world) key() string {
	var k strings.Builder
	batches := func(name string, list []pinetree.Batch) {
		k.WriteString(name)
		for _, b := range list {
			fmt.Fprintf(&k, " %d:%d-%d", b.Term, b.Prev, b.LSN)
		}
	}
	fmt.Fprintf(&k, "%d %v %d %d %d", w.fences, w.at.Terms, w.at.LSN, w.queue.term, w.queue.ordered)
	batches(" ready", w.queue.ready)
	batches(" held", w.queue.held)
	for _, e := range w.log {
		batches(fmt.Sprint(" log", e.fence.Term), []pinetree.Batch{e.batch})
	}
	return k.String()
}
