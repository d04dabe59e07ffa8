package host

import (
	"fmt"
	"math"
	"runtime/debug"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/packing"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// event is something that happened to a replica, told to its owner.
type event struct {
	group *Group
	do    func(*group.Replica)
	// looks tells that do changes nothing. The replica has no turn for it, so that
	// one who looks does not wake it.
	looks bool
}

// worker owns the replicas of some groups: one goroutine at a time calls them.
// Whoever brings an event while nobody is at it carries it out, which saves the
// time of waking somebody; what comes meanwhile is left to that one, and after a
// few rounds to the worker's own goroutine, which also keeps the time.
type worker struct {
	host *Host
	// Of whoever is at it.
	ticks  int
	active map[*Group]int           // replicas that are ticked, and for how many ticks nothing happened to them
	timed  map[*Group]lease.Instant // replicas that want a turn without an event
	buffer packing.Buffer
	spare  []event

	mu     sync.Mutex
	idle   sync.Cond // tells that busy ended
	inbox  []event
	busy   bool // somebody is at it
	tick   bool // the replicas are to be ticked
	due    bool // replicas may want a turn without an event
	closed bool

	wake  chan struct{} // the worker's goroutine is to take over; busy stays set
	alarm *time.Timer
	quit  chan struct{}
	done  chan struct{}
}

// maxRounds is how many rounds one who brought an event carries out.
const maxRounds = 3

func startWorker(h *Host) *worker {
	w := &worker{
		host: h, active: map[*Group]int{}, timed: map[*Group]lease.Instant{}, wake: make(chan struct{}, 1),
		alarm: time.NewTimer(time.Hour), quit: make(chan struct{}), done: make(chan struct{}),
	}
	w.idle.L = &w.mu
	go w.run()
	return w
}

var errClosing = fmt.Errorf("%w: the node is stopping", pinetree.ErrStopped)

// urgency says how much may wait for a worker before an event is refused.
type urgency int

const (
	// offered is load: batches, reads, orders. It is shed first, at half the
	// limit, so that consensus does not starve under it.
	offered urgency = iota
	// consensus is raft's messages. Beyond the limit they are dropped, which
	// raft repairs.
	consensus
	// completion is the end of work that is bounded elsewhere. It is never
	// refused.
	completion
)

// put queues an event; serve is to be called after it.
func (w *worker) put(e event, u urgency) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errClosing
	}
	limit := w.host.cfg.Options.MaxInbox
	if u == offered {
		limit /= 2
	}
	if u != completion && len(w.inbox) >= limit {
		return fmt.Errorf("%w: %d events wait for one worker of node %d; wait and send again", pinetree.ErrQueueFull, len(w.inbox), w.host.cfg.Node)
	}
	w.inbox = append(w.inbox, e)
	return nil
}

// post queues an event and sees to it that it is carried out, by this goroutine
// if nobody is at it.
func (w *worker) post(e event, u urgency) error {
	if err := w.put(e, u); err != nil {
		return err
	}
	w.serve(false)
	return nil
}

// serve sees to it that what was put is carried out: by this goroutine if nobody
// is at it, or, when it has better to do, by the worker's own.
func (w *worker) serve(better bool) {
	w.mu.Lock()
	if w.busy || !w.waits() {
		w.mu.Unlock()
		return
	}
	w.busy = true
	later := better && !w.closed
	if later {
		w.wake <- struct{}{}
	}
	w.mu.Unlock()
	if !later {
		w.work(maxRounds)
	}
}

// waits tells whether there is something to do; w.mu is held.
func (w *worker) waits() bool { return len(w.inbox) > 0 || w.tick || w.due }

// work does what there is to do, by the one who is at it, in at most so many
// rounds; what is left then is the worker's own goroutine's.
func (w *worker) work(rounds int) {
	for {
		w.mu.Lock()
		if !w.waits() {
			w.busy = false
			w.idle.Broadcast()
			w.mu.Unlock()
			return
		}
		if rounds == 0 && !w.closed {
			w.wake <- struct{}{}
			w.mu.Unlock()
			return
		}
		rounds--
		events, tick := w.inbox, w.tick
		w.inbox, w.tick, w.due = w.spare[:0], false, false
		w.mu.Unlock()
		began, now := time.Now(), w.host.cfg.Clock()
		next := w.round(now, events, tick)
		clear(events)
		w.spare = events
		if next != 0 {
			w.alarm.Reset(max(0, next.Sub(now)-time.Since(began))) // asking Clock again is a system call
		}
	}
}

// run is the worker's own goroutine.
func (w *worker) run() {
	defer close(w.done)
	ticker := time.NewTicker(w.host.cfg.Options.Replica.TickInterval)
	defer ticker.Stop()
	defer w.alarm.Stop()
	for {
		select {
		case <-w.quit:
			w.stop()
			return
		case <-w.wake:
			w.work(math.MaxInt)
		case <-w.alarm.C:
			w.time(&w.due)
		case <-ticker.C:
			w.host.appliers.look()
			w.time(&w.tick)
		}
	}
}

// time sets one of the marks that time sets.
func (w *worker) time(mark *bool) {
	w.mu.Lock()
	*mark = true
	w.mu.Unlock()
	w.serve(false)
}

// round gives the events to their replicas, turns those that were touched and
// carries out what they want. It returns when the next turn is due at the
// latest, zero when nothing is planned.
func (w *worker) round(now lease.Instant, events []event, tick bool) lease.Instant {
	touched := make(map[*Group]struct{}, 8)
	for _, e := range events {
		e.group.guard(func(r *group.Replica) {
			r.At(now)
			e.do(r)
		})
		if !e.looks {
			touched[e.group] = struct{}{}
			w.active[e.group] = 0
		}
	}
	if tick {
		w.tickActive(now, touched)
	}
	for g, due := range w.timed {
		if due <= now {
			touched[g] = struct{}{}
		}
	}
	out := outgoing{}
	changed := false
	for g := range touched {
		g.guard(func(r *group.Replica) {
			r.At(now)
			w.carryOut(g, r, r.Turn(), out)
			changed = w.noteRole(g, r) || changed
			if due := r.Deadline(); due != 0 {
				w.timed[g] = due
			} else {
				delete(w.timed, g)
			}
		})
	}
	for to, messages := range out {
		w.host.cfg.Send(to, messages)
	}
	if changed && w.host.cfg.Changed != nil {
		w.host.cfg.Changed()
	}
	var next lease.Instant
	for _, due := range w.timed {
		next = earlier(next, due)
	}
	return next
}

// tickActive ticks the replicas to which something happens. One that is idle, and
// whose engine has been flushed, is left alone until something does again.
func (w *worker) tickActive(now lease.Instant, touched map[*Group]struct{}) {
	w.ticks++
	for g, idle := range w.active {
		if g.view.Load().Stopped != nil {
			delete(w.active, g)
			continue
		}
		w.askFlush(g)
		g.guard(func(r *group.Replica) {
			r.At(now)
			if g.readUnderLease.Swap(false) {
				r.Touch()
			}
			r.Tick()
			if r.Idle() {
				idle++
			} else {
				idle = 0
			}
		})
		w.active[g] = idle
		if idle > 3*w.flushTicks() {
			delete(w.active, g)
		}
		touched[g] = struct{}{}
	}
}

// noteRole reports whether the manager should hear of the replica at once.
func (w *worker) noteRole(g *Group, r *group.Replica) bool {
	now := r.Role()
	changed := now != g.told
	g.told = now
	return changed
}

// askFlush lets the engine flush, at the pace of FlushInterval, when it holds
// something that it may lose or when the raft log may be shortened.
func (w *worker) askFlush(g *Group) {
	if (w.ticks+int(g.id))%w.flushTicks() != 0 {
		return
	}
	keep := pinetree.RaftIndex(w.host.cfg.Options.KeepEntries)
	if applied := g.engine.Position().Index; applied > g.engine.Flushed().Index || applied > g.compacted+keep {
		w.host.appliers.askFlush(g)
	}
}

func (w *worker) flushTicks() int {
	return max(1, int(w.host.cfg.Options.FlushInterval/w.host.cfg.Options.Replica.TickInterval))
}

// outgoing collects a round's messages by peer.
type outgoing map[pinetree.NodeID][]wirepb.GroupMessage

func (w *worker) carryOut(g *Group, r *group.Replica, effects group.Effects, out outgoing) {
	for _, m := range effects.Send {
		to := pinetree.NodeID(m.GetTo())
		out[to] = append(out[to], wirepb.GroupMessage{Group: g.id, Message: m, Floor: r.Floor()})
	}
	for _, s := range effects.Save {
		g.save(s)
	}
	for _, c := range effects.Commit {
		w.host.appliers.put(g, c)
	}
	for _, o := range effects.Snapshots {
		w.host.sends.start(g, o)
	}
}

// groups lists the replicas that this worker owns.
func (w *worker) groups() []*Group {
	all := w.host.Groups()
	mine := all[:0]
	for _, g := range all {
		if g.worker == w && g.replica != nil {
			mine = append(mine, g)
		}
	}
	return mine
}

func earlier(a, b lease.Instant) lease.Instant {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// guard runs a step of a group's replica. A panic, raft's included, stops that
// replica and no other.
func (g *Group) guard(step func(*group.Replica)) {
	defer func() {
		if p := recover(); p != nil {
			g.host.cfg.Logger.Error("panic in a replica", "group", g.id, "panic", p, "stack", string(debug.Stack()))
			g.replica.Stop(fmt.Errorf("panic: %v", p))
		}
	}()
	step(g.replica)
}

// stop stops the replicas, once nobody is at it, and tells those who wait.
func (w *worker) stop() {
	select {
	case <-w.wake: // nobody hands over any more: closed is set
		w.work(math.MaxInt)
	default:
	}
	w.mu.Lock()
	for w.busy {
		w.idle.Wait()
	}
	w.busy = true // for good
	events := w.inbox
	w.inbox = nil
	w.mu.Unlock()
	for _, g := range w.groups() {
		g.guard(func(r *group.Replica) { r.Stop(errClosing) })
	}
	for _, e := range events {
		e.group.guard(e.do) // each hears that the replica has stopped
	}
}

// close ends the worker and waits for its goroutine.
func (w *worker) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	close(w.quit)
	<-w.done
}
