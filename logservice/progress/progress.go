// Package progress tells how far a replica has replayed, and lets others wait for
// more. It knows positions and nothing of who makes or uses them.
package progress

import (
	"context"
	"sync"

	"github.com/pinetree-db/pinetree"
)

// Replayed is how far a replica has replayed. The zero Replayed is at the zero
// position; any goroutine may use it.
type Replayed struct {
	mu      sync.Mutex
	at      pinetree.Position
	stopped bool
	changed chan struct{} // closed when at changes; nil while nobody waits
}

// At is the position.
func (p *Replayed) At() pinetree.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

// Reach tells those who wait of a new position.
func (p *Replayed) Reach(at pinetree.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = at
	p.wake()
}

// Stop ends all waiting, now and later, for what is not reached.
func (p *Replayed) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.wake()
}

func (p *Replayed) wake() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// Reached tells whether an index is replayed.
func (p *Replayed) Reached(index pinetree.RaftIndex) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at.Index >= index
}

// Wait returns the first position that is enough. When ctx ends before, it is its
// error, and after Stop pinetree.ErrStopped.
func (p *Replayed) Wait(ctx context.Context, enough func(pinetree.Position) bool) (pinetree.Position, error) {
	for {
		p.mu.Lock()
		if enough(p.at) {
			defer p.mu.Unlock()
			return p.at, nil
		}
		if p.stopped {
			p.mu.Unlock()
			return pinetree.Position{}, pinetree.ErrStopped
		}
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return pinetree.Position{}, ctx.Err()
		}
	}
}

// WaitVolume is Wait for a volume's part of the position. That there is no such
// volume is enough, too: nothing more of it will come.
func (p *Replayed) WaitVolume(ctx context.Context, id pinetree.VolumeID, enough func(pinetree.VolumePosition) bool) (pinetree.VolumePosition, error) {
	at, err := p.Wait(ctx, func(at pinetree.Position) bool {
		v, there := at.Volumes[id]
		return !there || enough(v)
	})
	return at.Volumes[id], err
}
