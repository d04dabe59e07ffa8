package host

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// event is something that happened to a replica, told to its owner.
type event struct {
	group *Group
	do    func(*group.Replica)
}

// worker owns the replicas of some groups: its goroutine alone calls them.
type worker struct {
	host  *Host
	ticks int                      // run's own
	timed map[*Group]lease.Instant // run's own: replicas that want a turn without an event

	mu     sync.Mutex
	inbox  []event
	closed bool

	wake chan struct{}
	quit chan struct{}
	done chan struct{}
}

func startWorker(h *Host) *worker {
	w := &worker{host: h, timed: map[*Group]lease.Instant{}, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
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

// post queues an event.
func (w *worker) post(e event, u urgency) error {
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
	if len(w.inbox) == 1 {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

func (w *worker) run() {
	defer close(w.done)
	ticker := time.NewTicker(w.host.cfg.Options.Replica.TickInterval)
	defer ticker.Stop()
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	var spare []event
	for {
		var tick bool
		select {
		case <-w.quit:
			w.stopAll()
			return
		case <-w.wake:
		case <-alarm.C:
		case <-ticker.C:
			tick = true
		}
		w.mu.Lock()
		events := w.inbox
		w.inbox = spare[:0]
		w.mu.Unlock()
		next := w.round(events, tick)
		clear(events)
		spare = events
		if next != 0 {
			alarm.Reset(max(0, next.Sub(w.host.cfg.Clock())))
		}
	}
}

// round gives the events to their replicas, turns those that were touched and
// carries out what they want. It returns when the next turn is due at the
// latest, zero when nothing is planned.
func (w *worker) round(events []event, tick bool) lease.Instant {
	now := w.host.cfg.Clock()
	touched := make(map[*Group]struct{}, 8)
	for _, e := range events {
		e.group.guard(func(r *group.Replica) {
			r.At(now)
			e.do(r)
		})
		touched[e.group] = struct{}{}
	}
	if tick {
		w.ticks++
		for _, g := range w.groups() {
			w.askFlush(g)
			g.guard(func(r *group.Replica) {
				r.At(now)
				r.Tick()
			})
			touched[g] = struct{}{}
		}
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
	every := max(1, int(w.host.cfg.Options.FlushInterval/w.host.cfg.Options.Replica.TickInterval))
	if (w.ticks+int(g.id))%every != 0 {
		return
	}
	keep := pinetree.RaftIndex(w.host.cfg.Options.KeepEntries)
	if applied := g.engine.Position().Index; applied > g.engine.Flushed().Index || applied > g.compacted+keep {
		w.host.appliers.askFlush(g)
	}
}

// outgoing collects a round's messages by peer.
type outgoing map[pinetree.NodeID][]wirepb.GroupMessage

func (w *worker) carryOut(g *Group, r *group.Replica, effects group.Effects, out outgoing) {
	for _, m := range effects.Send {
		to := pinetree.NodeID(m.GetTo())
		out[to] = append(out[to], wirepb.GroupMessage{Group: g.id, Message: m, Floor: r.Floor()})
	}
	for _, s := range effects.Save {
		w.host.writer.save(g, s)
	}
	for _, c := range effects.Commit {
		w.host.appliers.put(g, c)
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

func (w *worker) stopAll() {
	for _, g := range w.groups() {
		g.guard(func(r *group.Replica) { r.Stop(errClosing) })
	}
	w.mu.Lock()
	events := w.inbox
	w.inbox = nil
	w.mu.Unlock()
	for _, e := range events {
		e.group.guard(e.do) // each hears that the replica has stopped
	}
}

func (w *worker) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	close(w.quit)
	<-w.done
}
