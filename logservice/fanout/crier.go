package fanout

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// groupTails is how many tails are called at a time. With a thousand of them
	// called at once, whoever else has something to do would stand in line behind.
	groupTails = 16
	// groupWait is how long the crier waits for those it called to have sent what
	// they came for. Who takes longer has a slow client.
	groupWait = 2 * time.Millisecond
	// maxRest is how long the rests are together, at most, until all tails of a ring
	// were called once, if that is quick for so many, and longestRest in any case.
	maxRest, longestRest = 125 * time.Millisecond, time.Second
	// lateAfter is how late a processor is taken to be short.
	lateAfter = time.Millisecond
)

// crier is a goroutine that calls the tails that wait, ring by ring in turns. Who
// has something new for a ring's tails tells the crier and goes on.
type crier struct {
	news  chan struct{} // tells that the line has become longer
	quit  chan struct{}
	ended chan struct{}

	rests rests // the goroutine's own

	mu   sync.Mutex
	line []*ring // those that have something new, the next one first
}

// cry is what the crier keeps with a ring. Guarded by crier.mu.
type cry struct {
	inLine bool      // or being served
	due    time.Time // not before
}

func (c *crier) start() {
	c.news, c.quit, c.ended = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	c.rests.share = minShare
	go c.run()
}

func (c *crier) close() {
	close(c.quit)
	<-c.ended
}

// announce puts a ring in line. It never waits.
func (c *crier) announce(r *ring) {
	c.mu.Lock()
	known := r.cry.inLine
	if !known {
		r.cry.inLine = true
		c.line = append(c.line, r)
	}
	c.mu.Unlock()
	if known {
		return
	}
	select {
	case c.news <- struct{}{}:
	default:
	}
}

func (c *crier) run() {
	defer close(c.ended)
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for {
		r, wait := c.next(time.Now())
		if r != nil {
			c.serve(r)
			select {
			case <-c.quit:
				return
			default:
			}
			continue
		}
		alarm.Reset(wait)
		due := time.Now().Add(wait)
		select {
		case <-c.news:
		case <-alarm.C:
			c.rests.woke(time.Since(due))
		case <-c.quit:
			return
		}
	}
}

// next takes the first ring that is due out of line; nil when none is for some time.
func (c *crier) next(now time.Time) (*ring, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait := time.Hour
	for i, r := range c.line {
		if r.cry.due.After(now) {
			wait = min(wait, r.cry.due.Sub(now))
			continue
		}
		c.line = slices.Delete(c.line, i, i+1)
		return r, 0
	}
	return nil, wait
}

// serve calls the next group of a ring's tails, and lets the ring rest.
func (c *crier) serve(r *ring) {
	began := time.Now()
	g, waiting := r.gather(groupTails)
	c.call(g)
	now := time.Now()
	rest := c.rests.after(now.Sub(began), 1+waiting/groupTails)
	c.mu.Lock()
	r.cry.due, r.cry.inLine = now.Add(rest), false
	c.mu.Unlock()
	if r.awaited() { // also what came when it was taken to be in line
		c.announce(r)
	}
}

// call wakes tails and waits until they have sent, or are slow.
func (c *crier) call(g *group) {
	if len(g.tails) == 0 {
		return
	}
	g.left.Store(int32(len(g.tails)))
	for _, t := range g.tails {
		t.wake <- g
	}
	slow := time.NewTimer(groupWait)
	defer slow.Stop()
	select {
	case <-g.done:
	case <-slow.C:
	case <-c.quit:
	}
}

// rests tells how long a ring rests after a group was called: so many times as long
// as that took, so that however many tails there are and however often something
// new comes, calling them takes a limited part of the time, and nobody stands in
// line behind more than one group. That holds where calling takes long because there
// is no processor, too. What is sent costs more after that, here and elsewhere;
// whether there is enough for all is found out by how late the crier is woken after
// a rest. It has no clock.
type rests struct{ share int }

const minShare, maxShare = 7, 64

// after is the rest after one of so many groups, which took so long.
func (r *rests) after(took time.Duration, groups int) time.Duration {
	n := time.Duration(groups)
	longest := min(max(maxRest, minShare*took*n), longestRest)
	return min(longest/n, time.Duration(r.share)*took)
}

// woke tells how late the crier was woken.
func (r *rests) woke(late time.Duration) {
	if late > lateAfter {
		r.share = min(maxShare, 2*r.share)
	} else {
		r.share = max(minShare, r.share-1)
	}
}

// group is tails that are called together.
type group struct {
	tails []*Tail
	shown marks // how far they may see
	left  atomic.Int32
	done  chan struct{}
}

// leave is called by each of them once.
func (g *group) leave() {
	if g != nil && g.left.Add(-1) == 0 {
		close(g.done)
	}
}
