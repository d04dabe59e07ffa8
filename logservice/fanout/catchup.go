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
// about the same place are given the same slice, which was read once.
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
		read, err := t.slice(ctx, log)
		if err != nil {
			return part{}, err
		}
		if p = read.part; p.message == nil {
			return p, nil
		}
		h.recent.add(read)
	}
	h.caughtUp.Add(int64(p.message.Bytes()))
	if h.quiet() {
		return p, nil
	}
	return p, h.pace.wait(ctx, p.message.Bytes())
}

// slice reads one answer's worth of the engine's log, at least a batch.
func (t *Tail) slice(ctx context.Context, log Log) (slice, error) {
	h := t.ring.hub
	s, limit := slice{ring: t.ring, part: part{from: t.at, to: t.at}}, h.responseBytes()
	hole, began := false, time.Now()
	at, err := log(ctx, t.at, func(b pinetree.Batch) error {
		size := wirepb.TailBatchBytes(b.Size())
		switch {
		case len(s.piece) > 0 && (len(s.piece)+size > limit || !t.query.Follow && b.LSN > t.query.Applied):
			return errFull
		case b.Prev > s.to && len(s.piece) > 0, b.Prev > s.to && s.to != 0:
			hole = true
			return errFull
		}
		if cap(s.piece)-len(s.piece) < size {
			s.piece = slices.Grow(s.piece, max(size, min(len(s.piece), limit-len(s.piece))))
		}
		s.piece, s.to = wirepb.AppendTailBatch(s.piece, b.Encoded), b.LSN
		s.ends = append(s.ends, end{b.LSN, len(s.piece)})
		return nil
	})
	if err != nil && !errors.Is(err, errFull) {
		return slice{}, err
	}
	switch {
	case t.at < at.Truncated:
		return slice{}, &pinetree.TruncatedError{Volume: t.ring.volume, Asked: t.at, First: at.Truncated}
	case len(s.piece) == 0 && !hole && t.at < at.Base:
		s.to = at.Base
		return s, nil
	case len(s.piece) == 0 || hole:
		return slice{}, &pinetree.CorruptError{
			Where: "log of volume", What: "nothing follows on " + s.to.String() + ", although it is replayed up to " + at.LSN.String(),
		}
	}
	h.readBytes.Add(int64(len(s.piece)))
	h.pace.rest(time.Since(began), len(s.piece))
	t.ring.reach(at.LSN)
	s.applied = at.LSN
	s.message = wirepb.NewOutgoingTail([][]byte{s.piece}, at.LSN)
	return s, nil
}

// pace is how fast those that are behind may go. It finds out how much is left for
// them: each wait asks to be woken at an instant, and when that comes late others
// find no processor either. And after each reading they rest in proportion to what
// it took, so that a disk is there for others most of the time. It has no clock.
type pace struct {
	least, most, rate float64 // bytes a second
	free              time.Time
	cut               time.Time // when it was last lowered
}

const (
	// paceLate is how late a processor is taken to be short. The runtime's timers
	// alone are up to a millisecond late.
	paceLate = 3 * time.Millisecond
	// readRest is how many times as long as a reading the rest after it is.
	readRest = 3
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

// readFor tells how long the reading of so many bytes took. The rest after it is no
// longer than the bytes take at the least rate.
func (p *pace) readFor(took time.Duration, bytes int, now time.Time) {
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(min(readRest*took, time.Duration(float64(bytes)/p.least*float64(time.Second))))
}

// woke tells how late one who waited until then was woken.
func (p *pace) woke(late time.Duration, now time.Time) {
	switch {
	case late <= paceLate:
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

// rest lets all wait some more after a reading of so many bytes.
func (t *throttle) rest(took time.Duration, bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readFor(took, bytes, time.Now())
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
