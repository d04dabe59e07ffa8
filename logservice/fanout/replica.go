package fanout

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pinetree-db/pinetree"
)

// Replica is the rings of a replica's volumes: there is one for each volume that
// has tails. It is fed by whoever replays, in raft order; the rest may be called by
// anybody.
type Replica struct {
	hub *Hub
	few atomic.Int32 // rings, so that where there are none feeding costs nothing

	mu      sync.RWMutex
	rings   map[pinetree.VolumeID]*ring
	stopped error
}

// Replica returns what a replica of the node feeds.
func (h *Hub) Replica() *Replica {
	return &Replica{hub: h, rings: map[pinetree.VolumeID]*ring{}}
}

// Committed takes batches that are committed and about to be replayed, and copies
// what it keeps of them.
func (p *Replica) Committed(batches []pinetree.Batch) {
	if len(batches) > 0 {
		p.hub.fed.Store(time.Now().UnixNano())
	}
	if p.few.Load() == 0 {
		return
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, b := range batches {
		if r := p.rings[b.Volume]; r != nil {
			r.commit(b)
		}
	}
}

// Applied takes note of how far the engine has replayed. The tails of a volume that
// the group has no more end with pinetree.ErrUnknownVolume.
func (p *Replica) Applied(at pinetree.Position) {
	if p.few.Load() == 0 {
		return
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	for id, r := range p.rings {
		v, there := at.Volumes[id]
		if !there {
			r.stop(fmt.Errorf("%w: volume %d was deleted", pinetree.ErrUnknownVolume, id))
			continue
		}
		r.reach(v.LSN)
	}
}

// Stop ends all tails with pinetree.ErrStopped, those to come, too.
func (p *Replica) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = pinetree.ErrStopped
	for _, r := range p.rings {
		r.stop(p.stopped)
	}
}

// Open begins a tail of a volume, which has so many at most if that is not zero.
// Reports pinetree.ErrOverQuota when it has them, and pinetree.ErrQueueFull when
// the node has. The tail is to be closed.
func (p *Replica) Open(id pinetree.VolumeID, most int) (*Tail, error) {
	if err := p.hub.admit(); err != nil {
		return nil, err
	}
	r, err := p.enter(id, most)
	if err != nil {
		p.hub.dismiss()
		return nil, err
	}
	return &Tail{replica: p, ring: r, wake: make(chan *group, 1)}, nil
}

func (p *Replica) enter(id pinetree.VolumeID, most int) (*ring, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped != nil {
		return nil, p.stopped
	}
	r := p.rings[id]
	if r == nil {
		r = newRing(p.hub, id)
		p.rings[id] = r
		p.few.Add(1)
		p.hub.add(r)
	}
	if most > 0 && r.tails >= most {
		return nil, fmt.Errorf("%w: volume %d has %d tails open on this node, and its settings allow %d", pinetree.ErrOverQuota, id, r.tails, most)
	}
	r.tails++
	return r, nil
}

// exit ends a tail; with the last one the ring goes.
func (p *Replica) exit(r *ring) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hub.dismiss()
	if r.tails--; r.tails == 0 {
		delete(p.rings, r.volume)
		p.few.Add(-1)
		p.hub.drop(r)
	}
}
