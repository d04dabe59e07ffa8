package ferry

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// maxTogether is how many reads go in one call.
	maxTogether = 64
	// maxWaiting bounds those that wait. Later ones go by themselves.
	maxWaiting = 4096
	// usualPatience is how long a read waits for a call under way to end. Calls take
	// less, unless something is wrong with the node or they wait for it to replay.
	usualPatience = 20 * time.Millisecond
	// keepLines is how many lines without reads are kept for those that come.
	keepLines = 64
	// usualCalls is the default of Gathering.Calls.
	usualCalls = 2
)

// Gathering tells which reads travel together.
type Gathering struct {
	// Off makes every read a call of its own.
	Off bool
	// Calls is how many calls of one kind are under way before others wait for
	// one of them to end; default 2.
	Calls int
}

// Outcome is what came of one of several reads.
type Outcome[A any] struct {
	Answer A
	Err    error
}

// Ways are how reads of kind K and of things T get answers A.
type Ways[K, T comparable, A any] struct {
	// Alone makes one read, for as long as its caller's context goes on.
	Alone func(context.Context, K, T) (A, error)
	// Together makes several reads in one call and returns what came of each, in
	// their order. Those that it says nothing of, all of them when it fails, are
	// made alone.
	Together func(context.Context, K, []T) ([]Outcome[A], error)
	// Begin runs a function beside its caller, and whoever owns the Ferry waits
	// for its end. The context that it gets ends the calls that are made in it. It
	// reports false, and runs nothing, when no more may begin.
	Begin func(func(context.Context)) bool
}

// Ferry makes reads. Two of one kind, which ask for as fresh a state of the same
// nodes, may go in one call. Any number of goroutines may use it.
type Ferry[K, T comparable, A any] struct {
	rules Gathering
	ways  Ways[K, T, A]
	// patience is usualPatience, but in tests.
	patience time.Duration

	mu    sync.Mutex
	lines map[K]*queue[T, A]
}

// queue is a line with the timer of its overdue ones.
type queue[T, A any] struct {
	line[*passenger[T, A]]
	watched bool // a timer runs
}

// passenger is a read that does not go at once.
type passenger[T, A any] struct {
	what T
	trip *trip // nil while it waits, and when it is to go alone
	left bool  // its caller waits no more
	told chan told[A]
}

// told is what a passenger hears, once: an outcome, or that it is to make its read
// by itself, for which a call is counted.
type told[A any] struct {
	Outcome[A]
	alone bool
}

// New makes a Ferry.
func New[K, T comparable, A any](rules Gathering, ways Ways[K, T, A]) *Ferry[K, T, A] {
	if rules.Calls <= 0 {
		rules.Calls = usualCalls
	}
	return &Ferry[K, T, A]{rules: rules, ways: ways, patience: usualPatience, lines: map[K]*queue[T, A]{}}
}

// Read makes a read, alone or with others of its kind. It ends with ctx, whatever
// the others do, and has the errors of Ways.Alone or those that Ways.Together
// gives this very read. Every call that answers it was sent after Read was called.
func (f *Ferry[K, T, A]) Read(ctx context.Context, kind K, what T) (A, error) {
	if f.rules.Off {
		return f.ways.Alone(ctx, kind, what)
	}
	p := f.arrive(kind, what)
	if p == nil {
		return f.alone(ctx, kind, what)
	}
	select {
	case t := <-p.told:
		if t.alone {
			return f.alone(ctx, kind, what)
		}
		return t.Answer, t.Err
	case <-ctx.Done():
		f.leave(kind, p)
		var none A
		return none, fmt.Errorf("read %v: %w", what, context.Cause(ctx))
	}
}

// alone makes a read for which a call is counted.
func (f *Ferry[K, T, A]) alone(ctx context.Context, kind K, what T) (A, error) {
	defer f.back(kind)
	return f.ways.Alone(ctx, kind, what)
}

// arrive returns nil for a read that goes at once.
func (f *Ferry[K, T, A]) arrive(kind K, what T) *passenger[T, A] {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.lines[kind]
	if q == nil {
		q = &queue[T, A]{}
		f.lines[kind] = q
	}
	if q.goes(f.rules.Calls) {
		return nil
	}
	p := &passenger[T, A]{what: what, told: make(chan told[A], 1)}
	now := time.Now()
	q.join(p, now)
	f.watch(kind, q, now)
	return p
}

// leave forgets a read whose caller waits no more.
func (f *Ferry[K, T, A]) leave(kind K, p *passenger[T, A]) {
	f.mu.Lock()
	q := f.lines[kind] // nil only when nobody waits, and p has been told
	waited := q != nil && q.leave(p)
	alone := !waited && p.trip == nil
	if !waited && !alone {
		p.left = true
		p.trip.left()
	}
	f.mu.Unlock()
	if alone {
		f.back(kind)
	}
}

// back ends a call, and sends off those that have waited for that.
func (f *Ferry[K, T, A]) back(kind K) { f.send(kind, f.next(kind)) }

// next ends a call and returns those that go in the next one.
func (f *Ferry[K, T, A]) next(kind K) []*passenger[T, A] {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.lines[kind]
	load := board(q.back(f.rules.Calls))
	f.tidy(kind, q)
	return load
}

// tidy forgets a line that is not used. The caller holds mu.
func (f *Ferry[K, T, A]) tidy(kind K, q *queue[T, A]) {
	if q.idle() && !q.watched && len(f.lines) > keepLines {
		delete(f.lines, kind)
	}
}

// watch has the overdue ones of a line seen off. The caller holds mu. A timer that
// fires after the owner of the Ferry has ended finds nobody.
func (f *Ferry[K, T, A]) watch(kind K, q *queue[T, A], now time.Time) {
	wait, waiting := q.wait(now, f.patience)
	if q.watched || !waiting {
		return
	}
	q.watched = true
	time.AfterFunc(wait, func() {
		f.mu.Lock()
		q.watched = false
		now := time.Now()
		load := board(q.overdue(now, f.patience))
		f.watch(kind, q, now)
		f.tidy(kind, q)
		f.mu.Unlock()
		f.send(kind, load)
	})
}
