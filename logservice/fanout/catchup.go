package fanout

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// errFull ends the reading of a slice.
var errFull = errors.New("the slice is full")

// catchUp reads what follows from the engine's log: when it is this tail's turn,
// and its bytes are within what all who are behind may be sent. Those that are at
// the same place are given the same slice, which was read once.
func (t *Tail) catchUp(ctx context.Context, log Log) (part, error) {
	t.called.leave()
	t.called = nil
	h := t.ring.hub
	if err := h.slots.Acquire(ctx, 1); err != nil {
		return part{}, context.Cause(ctx)
	}
	defer h.slots.Release(1)
	p, known := h.recent.find(t.ring, t.at, t.query)
	if !known {
		var err error
		if p, err = t.slice(ctx, log); err != nil {
			return part{}, err
		}
		h.recent.add(t.ring, p)
	}
	if p.message == nil {
		return p, nil
	}
	h.caughtUp.Add(int64(p.message.Bytes()))
	if h.quiet() {
		return p, nil
	}
	return p, h.pace.wait(ctx, p.message.Bytes())
}

// slice reads one answer's worth of the engine's log, at least a batch.
func (t *Tail) slice(ctx context.Context, log Log) (part, error) {
	p, limit := part{from: t.at, to: t.at}, t.ring.hub.responseBytes()
	var piece []byte
	hole := false
	at, err := log(ctx, t.at, func(b pinetree.Batch) error {
		size := wirepb.TailBatchBytes(b.Size())
		switch {
		case len(piece) > 0 && (len(piece)+size > limit || !t.query.Follow && b.LSN > t.query.Applied):
			return errFull
		case b.Prev > p.to && len(piece) > 0, b.Prev > p.to && p.to != 0:
			hole = true
			return errFull
		}
		if cap(piece)-len(piece) < size {
			piece = slices.Grow(piece, max(size, min(len(piece), limit-len(piece))))
		}
		piece, p.to = wirepb.AppendTailBatch(piece, b.Encoded), b.LSN
		return nil
	})
	if err != nil && !errors.Is(err, errFull) {
		return part{}, err
	}
	switch {
	case t.at < at.Truncated:
		return part{}, &pinetree.TruncatedError{Volume: t.ring.volume, Asked: t.at, First: at.Truncated}
	case len(piece) == 0 && !hole && t.at < at.Base:
		p.to = at.Base
		return p, nil
	case len(piece) == 0 || hole:
		return part{}, &pinetree.CorruptError{
			Where: "log of volume", What: "nothing follows on " + p.to.String() + ", although it is replayed up to " + at.LSN.String(),
		}
	}
	t.ring.reach(at.LSN)
	p.message = wirepb.NewOutgoingTail([][]byte{piece}, at.LSN)
	return p, nil
}

// shelf keeps the slices read last.
type shelf struct {
	mu     sync.Mutex
	slices [8]shelved
	next   int // where the next one goes
}

type shelved struct {
	ring *ring
	part
}

// find is the slice of a ring's log that a tail goes on with.
func (s *shelf) find(r *ring, after pinetree.LSN, q Query) (part, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.slices {
		if p.ring == r && p.from == after && (q.Follow || p.to <= q.Applied) {
			return p.part, true
		}
	}
	return part{}, false
}

func (s *shelf) add(r *ring, p part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slices[s.next] = shelved{r, p}
	s.next = (s.next + 1) % len(s.slices)
}

// forget drops the slices of a ring.
func (s *shelf) forget(r *ring) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.slices {
		if s.slices[i].ring == r {
			s.slices[i] = shelved{}
		}
	}
}

// pace is how fast those that are behind may go. It finds out how much is left for
// them: each wait asks to be woken at an instant, and when that comes late others
// find no processor either. It has no clock.
type pace struct {
	least, most, rate float64 // bytes a second
	free              time.Time
	cut               time.Time // when it was last lowered
}

const (
	lateAfter = time.Millisecond
	// cutPause is how long a lower rate is given to show its effect.
	cutPause = 10 * time.Millisecond
)

func newPace(l Limits) pace {
	least, most := float64(max(1, l.MinCatchUpRate)), float64(max(1, l.MaxCatchUpRate))
	return pace{least: least, most: most, rate: most}
}

// reserve tells when so many bytes may be sent.
func (p *pace) reserve(bytes int, now time.Time) time.Time {
	if p.free.Before(now) {
		p.free = now
	}
	due := p.free
	p.free = p.free.Add(time.Duration(float64(bytes) / p.rate * float64(time.Second)))
	return due
}

// woke tells how late one who waited until then was woken.
func (p *pace) woke(late time.Duration, now time.Time) {
	switch {
	case late <= lateAfter:
		p.rate = min(p.most, p.rate*1.02)
	case now.Sub(p.cut) >= cutPause:
		p.rate, p.cut = max(p.least, p.rate/2), now
	}
}

// throttle is a pace with a clock.
type throttle struct {
	mu sync.Mutex
	pace
}

// minNap is the shortest wait that tells anything.
const minNap = 200 * time.Microsecond

// wait returns when so many bytes may be sent.
func (t *throttle) wait(ctx context.Context, bytes int) error {
	t.mu.Lock()
	due := t.reserve(bytes, time.Now())
	t.mu.Unlock()
	nap := max(time.Until(due), minNap)
	due = time.Now().Add(nap)
	timer := time.NewTimer(nap)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	now := time.Now()
	t.mu.Lock()
	t.woke(now.Sub(due), now)
	t.mu.Unlock()
	return nil
}
