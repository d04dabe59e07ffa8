package fanout

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/pinetree-db/pinetree"
)

// Hub is what all tails of a node share: memory, the pace of those that are
// behind, and the goroutine that calls those that wait. Any goroutine may use it.
type Hub struct {
	limits Limits
	slots  *semaphore.Weighted // of those who read an engine's log
	recent shelf
	pace   throttle

	mu    sync.Mutex
	tails int
	rings map[*ring]struct{}

	fed       atomic.Int64 // when something was committed last, as UnixNano
	caughtUp  atomic.Int64 // bytes
	readBytes atomic.Int64
	crier     crier
}

// Stats is what the tails of a node take now, and took since it began.
type Stats struct {
	Open      int   // tails
	RingBytes int   // in all rings together
	CaughtUp  int64 // bytes that were sent to tails that were behind their ring
	Read      int64 // bytes that were read from engines for that
}

// Stats tells what the tails take.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := Stats{Open: h.tails, CaughtUp: h.caughtUp.Load(), Read: h.readBytes.Load()}
	for r := range h.rings {
		s.RingBytes += r.bytes()
	}
	return s
}

// NewHub starts a hub. It is to be closed.
func NewHub(limits Limits) *Hub {
	h := &Hub{
		limits: limits, rings: map[*ring]struct{}{},
		slots:  semaphore.NewWeighted(int64(max(1, limits.CatchUps))),
		recent: shelf{limit: limits.ShelfBytes},
	}
	h.pace.pace = newPace(limits)
	h.crier.start()
	return h
}

// Close ends the hub's goroutine and waits for it. Tails that wait are ended by
// their replicas, which stop before.
func (h *Hub) Close() { h.crier.close() }

// responseBytes is how much one answer carries now.
func (h *Hub) responseBytes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.limits.response(h.tails)
}

// quietAfter is how long after the last commit nobody is taken to write here.
const quietAfter = time.Second

// quiet tells that there is nobody to give way to.
func (h *Hub) quiet() bool {
	return time.Since(time.Unix(0, h.fed.Load())) > quietAfter
}

// admit counts one more tail.
func (h *Hub) admit() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tails >= h.limits.Tails {
		return fmt.Errorf("%w: %d tails are open on this node, and no more are allowed; ask another replica, or later", pinetree.ErrQueueFull, h.tails)
	}
	h.tails++
	return nil
}

func (h *Hub) dismiss() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tails--
}

// add gives a new ring its share of the memory, which takes from the others'.
func (h *Hub) add(r *ring) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.limits.share(len(h.rings))
	h.rings[r] = struct{}{}
	share := h.limits.share(len(h.rings))
	r.resize(share)
	if share != before {
		h.resize(share)
	}
}

// drop gives a ring's share to the others.
func (h *Hub) drop(r *ring) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.limits.share(len(h.rings))
	delete(h.rings, r)
	if share := h.limits.share(len(h.rings)); share != before {
		h.resize(share)
	}
	h.recent.forget(r)
}

// resize gives every ring a new limit; h.mu is held.
func (h *Hub) resize(share int) {
	for r := range h.rings {
		r.resize(share)
	}
}
