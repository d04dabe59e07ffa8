package ferry

import (
	"context"
	"runtime"
)

// trip is one call for several reads. It ends when nobody waits for it any more.
// What is in it belongs to the Ferry's lock.
type trip struct {
	aboard int
	cancel context.CancelFunc // nil before the call begins
}

// board puts those that go together on a trip. One that goes by itself has none.
// The caller holds the Ferry's lock, so that nobody leaves in between.
func board[T, A any](load []*passenger[T, A]) []*passenger[T, A] {
	if len(load) > 1 {
		t := &trip{aboard: len(load)}
		for _, p := range load {
			p.trip = t
		}
	}
	return load
}

// left takes note of one who waits no more.
func (t *trip) left() {
	if t.aboard--; t.aboard == 0 && t.cancel != nil {
		t.cancel()
	}
}

// send has those whose call is counted make it. Who goes by itself does so in its
// caller's own goroutine.
func (f *Ferry[K, T, A]) send(kind K, load []*passenger[T, A]) {
	switch {
	case len(load) == 0:
	case len(load) == 1:
		load[0].told <- told[A]{alone: true}
	case !f.ways.Begin(func(ctx context.Context) { f.carry(ctx, kind, load) }):
		f.scatter(kind, load)
		f.back(kind)
	}
}

// carry makes call after call, as long as there are several reads for the next one.
func (f *Ferry[K, T, A]) carry(ctx context.Context, kind K, load []*passenger[T, A]) {
	for len(load) > 1 {
		f.sail(ctx, kind, load)
		// Those who have just been answered often have the next read ready. They run
		// first, or the first of them would go alone and the others wait for it.
		runtime.Gosched()
		load = f.next(kind)
	}
	f.send(kind, load)
}

// sail makes the call of one trip and tells everybody what came of it.
func (f *Ferry[K, T, A]) sail(ctx context.Context, kind K, load []*passenger[T, A]) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := load[0].trip
	f.mu.Lock()
	t.cancel = cancel
	wanted := t.aboard > 0
	f.mu.Unlock()
	if !wanted {
		return
	}
	reads := make([]T, len(load))
	for i, p := range load {
		reads[i] = p.what
	}
	outcomes, err := f.ways.Together(ctx, kind, reads)
	if err != nil {
		outcomes = nil
	}
	outcomes = outcomes[:min(len(outcomes), len(load))]
	for i, o := range outcomes {
		load[i].told <- told[A]{Outcome: o}
	}
	f.scatter(kind, load[len(outcomes):])
}

// scatter has each of those that were to go together make its read by itself, with
// the patience and the errors of a read that never met others.
func (f *Ferry[K, T, A]) scatter(kind K, load []*passenger[T, A]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range load {
		if !p.left {
			p.trip = nil
			f.lines[kind].underWay++
			p.told <- told[A]{alone: true} // has room: each is told once
		}
	}
}
