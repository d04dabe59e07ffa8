package quota

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
)

// A heavy read keeps a processor busy for milliseconds. So that those of one volume
// are not in the way of all others, no more of them run at a time than this for
// each processor; the rest waits its turn, at most so many.
const heavyPerProcessor, maxTurns = 2, 4096

// turns are the heavy reads of one volume.
type turns struct {
	running int
	waiting []chan struct{} // closed when it is one's turn
}

// Turn waits until a heavy read of a volume may run, and returns what ends it.
// Volumes do not wait for each other. It reports pinetree.ErrQueueFull when too
// many wait, and the context's error.
func (k *Keeper) Turn(ctx context.Context, id pinetree.VolumeID) (end func(), err error) {
	k.mu.Lock()
	t := k.turns[id]
	if t == nil {
		t = new(turns)
		k.turns[id] = t
	}
	end = func() { k.endTurn(id, t) }
	if t.running < heavyPerProcessor*runtime.GOMAXPROCS(0) {
		t.running++
		k.mu.Unlock()
		return end, nil
	}
	if len(t.waiting) >= maxTurns {
		k.mu.Unlock()
		return nil, fmt.Errorf("%w: %d reads of much data of volume %d wait on this node; read less at a time, or from other replicas", pinetree.ErrQueueFull, maxTurns, id)
	}
	mine := make(chan struct{})
	t.waiting = append(t.waiting, mine)
	k.mu.Unlock()
	began := time.Now()
	defer func() { k.waited.WithLabelValues("turns", label(id)).Add(time.Since(began).Seconds()) }()
	select {
	case <-mine:
		return end, nil
	case <-ctx.Done():
	}
	k.mu.Lock()
	at := slices.Index(t.waiting, mine)
	if at >= 0 {
		t.waiting = slices.Delete(t.waiting, at, at+1)
	}
	k.mu.Unlock()
	if at < 0 { // it was given the turn meanwhile
		end()
	}
	return nil, context.Cause(ctx)
}

// endTurn gives the turn on. A volume of which nobody reads is forgotten.
func (k *Keeper) endTurn(id pinetree.VolumeID, t *turns) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(t.waiting) > 0 {
		close(t.waiting[0])
		t.waiting = slices.Delete(t.waiting, 0, 1)
		return
	}
	if t.running--; t.running == 0 {
		delete(k.turns, id)
	}
}
