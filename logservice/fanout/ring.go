package fanout

import (
	"slices"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// part is an answer: the log above from, up to to.
type part struct {
	from, to pinetree.LSN
	message  *wirepb.OutgoingTail
}

// ring is the newest part of a volume's log and the tails that wait for more of
// it. Any goroutine may use it.
//
// What has come is not shown to tails at once, but when the hub's crier calls them:
// then all of a group go on to the same LSN, and are sent the same message.
type ring struct {
	hub    *Hub
	volume pinetree.VolumeID

	mu     sync.Mutex
	window window
	// applied is how far the engine is known to be.
	applied pinetree.LSN
	// made are the messages made last, for those who come to the same place.
	made    [2]part
	tails   int
	waiting []*Tail       // who waits longest is first
	eager   int           // of them want what is committed
	err     error         // why there will be no more; nil as long as there may be
	gone    chan struct{} // closed with err

	cry cry // the crier's
}

// marks are how far tails may see: those that take what is committed, and the
// others.
type marks struct{ committed, applied pinetree.LSN }

func newRing(h *Hub, volume pinetree.VolumeID) *ring {
	return &ring{hub: h, volume: volume, gone: make(chan struct{})}
}

// known is how far there is something to show; r.mu is held.
func (r *ring) known() marks { return marks{r.window.end, r.applied} }

// commit takes a batch that is committed and not yet replayed here.
func (r *ring) commit(b pinetree.Batch) {
	r.mu.Lock()
	r.window.push(b)
	wanted := r.eager > 0
	r.mu.Unlock()
	if wanted {
		r.hub.crier.announce(r)
	}
}

// reach takes note of how far the volume is replayed.
func (r *ring) reach(applied pinetree.LSN) {
	r.mu.Lock()
	wanted := applied > r.applied && len(r.waiting) > 0
	r.applied = max(r.applied, applied)
	r.mu.Unlock()
	if wanted {
		r.hub.crier.announce(r)
	}
}

// stop ends the tails.
func (r *ring) stop(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = why
		close(r.gone)
	}
}

// resize gives the ring a new limit.
func (r *ring) resize(limit int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.window.limit = limit
	r.window.trim()
}

// bytes is how much memory the ring takes.
func (r *ring) bytes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.window.bytes
}

// standing is what there is for a tail.
type standing int

const (
	ready   standing = iota // a part
	behind                  // what follows is in the engine's log
	current                 // nothing yet
	ended                   // the ring has stopped
)

// look tells how a tail stands when it may see so much; r.mu is held.
func (r *ring) look(t *Tail, m marks) standing {
	next, held := r.window.following(t.at)
	switch {
	case r.err != nil:
		return ended
	case held && next.lsn <= r.upTo(t, m):
		return ready
	case !held && t.at < r.applied:
		return behind
	}
	return current
}

// upTo is how far a tail may see; r.mu is held.
func (r *ring) upTo(t *Tail, m marks) pinetree.LSN {
	switch {
	case !t.query.Follow:
		return min(t.query.Applied, r.applied)
	case t.query.Committed:
		return max(m.committed, m.applied)
	}
	return m.applied
}

// next is what follows for a tail.
func (r *ring) next(t *Tail) (part, standing) {
	limit := r.hub.responseBytes()
	r.mu.Lock()
	defer r.mu.Unlock()
	is := r.look(t, t.shown)
	if is != ready {
		return part{}, is
	}
	// An answer keeps what the window has given up; it is no large part of it.
	s := r.window.from(t.at, r.upTo(t, t.shown), min(limit, r.window.limit/2))
	for _, p := range r.made {
		if p.from == s.from && p.to == s.to {
			return p, ready
		}
	}
	p := part{s.from, s.to, wirepb.NewOutgoingTail(s.pieces, r.applied)}
	r.made[0], r.made[1] = p, r.made[0]
	return p, ready
}

// enlist notes that a tail waits, unless there is something for it. It tells, too,
// whether it would be given something when called, so that the ring is to be announced.
func (r *ring) enlist(t *Tail) (waits, awaited bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.look(t, t.shown) != current {
		return false, false
	}
	r.waiting = append(r.waiting, t)
	if t.query.Committed {
		r.eager++
	}
	return true, r.look(t, r.known()) != current
}

// strike takes a tail off the list of those who wait.
func (r *ring) strike(t *Tail) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.waiting, t); i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
		r.relieve(t)
	}
}

// relieve counts one less that waits.
func (r *ring) relieve(t *Tail) {
	if t.query.Committed {
		r.eager--
	}
}

// gather takes those off the list who have waited longest for something there is,
// so many at most, and tells how many still wait.
func (r *ring) gather(most int) (g *group, waiting int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g = &group{shown: r.known(), done: make(chan struct{})}
	left := r.waiting[:0]
	for _, t := range r.waiting {
		if len(g.tails) == most || r.look(t, g.shown) == current {
			left = append(left, t)
			continue
		}
		g.tails = append(g.tails, t)
		r.relieve(t)
	}
	clear(r.waiting[len(left):])
	r.waiting = left
	return g, len(left)
}

// awaited tells that somebody who waits would be given something.
func (r *ring) awaited() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.known()
	return slices.ContainsFunc(r.waiting, func(t *Tail) bool { return r.look(t, known) != current })
}
