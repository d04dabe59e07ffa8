package host

import (
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/pipeline"
	"github.com/pinetree-db/pinetree/raftlog"
)

// stuckAfter is how long an engine may take for one write before somebody else
// takes the place of the applier that waits for it.
const stuckAfter = 500 * time.Millisecond

// appliers replay committed entries beside the workers, each group in two stages:
// one write is applied while the next one is prepared, both by one goroutine at a
// time, in order. What waits is bounded by raft, which hands out no more than
// MaxCommittedSizePerReady before it hears that it was applied.
//
// So many of them work side by side, not counting those whose engine hangs:
// there are never more than that and the groups' stages.
type appliers struct {
	host *Host
	most int
	wait sync.WaitGroup

	mu     sync.Mutex
	cond   sync.Cond
	due    []*Group
	atWork map[*shift]struct{}
	count  int // of goroutines
	stuck  int // of them
	quit   bool
}

// shift is a goroutine's work on a group.
type shift struct {
	since time.Time
	stuck bool
}

// backlog is a group's part of the appliers' work.
type backlog struct {
	mu sync.Mutex
	pipeline.Line
	called bool // in line for an applier

	arrival  *arrival   // the engine is to take it over after the commits
	unwanted []*arrival // to be closed
}

// call tells whether an applier is to be called for what is due. mu is held.
func (b *backlog) call() bool {
	if b.called || b.Due() == pipeline.Rest {
		return false
	}
	b.called = true
	return true
}

func startAppliers(h *Host, n int) *appliers {
	a := &appliers{host: h, most: max(1, n), atWork: map[*shift]struct{}{}}
	a.cond.L = &a.mu
	for range a.most {
		a.start()
	}
	return a
}

// start starts one more goroutine; a.mu is held, or nobody knows of a.
func (a *appliers) start() {
	a.count++
	a.wait.Go(a.run)
}

func (a *appliers) put(g *Group, c group.Commit) {
	a.schedule(g, func(b *backlog) { b.Add(c) })
}

func (a *appliers) askFlush(g *Group) {
	a.schedule(g, func(b *backlog) { b.AskFlush() })
}

func (a *appliers) schedule(g *Group, add func(*backlog)) {
	g.backlog.mu.Lock()
	add(&g.backlog)
	a.leave(g)
}

// leave unlocks the group's backlog, and has an applier called if a stage is due.
func (a *appliers) leave(g *Group) {
	call := g.backlog.call()
	g.backlog.mu.Unlock()
	if call {
		a.mu.Lock()
		a.due = append(a.due, g)
		a.mu.Unlock()
		a.cond.Signal()
	}
}

func (a *appliers) run() {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() { a.count-- }()
	for {
		for len(a.due) == 0 && !a.quit {
			a.cond.Wait()
		}
		if a.quit {
			return
		}
		g := a.due[0]
		a.due = a.due[1:]
		s := &shift{since: time.Now()}
		a.atWork[s] = struct{}{}
		a.mu.Unlock()
		more := a.work(g)
		a.mu.Lock()
		delete(a.atWork, s)
		if more {
			a.due = append(a.due, g) // this goroutine goes on there
		}
		if s.stuck {
			if a.stuck--; a.count-a.stuck > a.most {
				a.cond.Signal()
				return // another one has taken its place
			}
		}
	}
}

// look finds those whose engine hangs, and has others started in their place.
func (a *appliers) look() {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for s := range a.atWork {
		if !s.stuck && now.Sub(s.since) > stuckAfter && !a.quit {
			s.stuck = true
			a.stuck++
			a.start()
		}
	}
}

// work does what is due of a group, one stage of it, and tells whether the caller
// has to come back.
func (a *appliers) work(g *Group) (more bool) {
	b := &g.backlog
	b.mu.Lock()
	b.called = false
	switch b.Due() {
	case pipeline.Prepare:
		w, from := b.BeginPrepare(g.engine)
		a.leave(g)
		w.Prepare(g.engine, from)
		b.mu.Lock()
		b.EndPrepare(w, g.engine)
	case pipeline.Apply:
		w, flush := b.BeginApply()
		failed := b.Failed()
		a.leave(g)
		err := a.apply(g, w, flush, failed)
		b.mu.Lock()
		b.EndApply(err)
	}
	more = b.call()
	b.mu.Unlock()
	return more
}

// apply applies a write, if there is one, and does what comes after it. failed is
// why nothing is applied any more.
func (a *appliers) apply(g *Group, w *pipeline.Write, flush bool, failed error) error {
	err := failed
	if err == nil && w != nil {
		err = a.replay(g, w)
	}
	err = a.takeOver(g, err)
	if err == nil && flush {
		err = a.flush(g)
	}
	if err != nil && failed == nil {
		g.progress.Stop()
		g.postUrgent(func(r *group.Replica) { r.Stop(err) })
	}
	return err
}

func (a *appliers) replay(g *Group, w *pipeline.Write) error {
	g.progress.tails.Committed(w.Decision.Batches)
	if err := w.Apply(); err != nil {
		return err
	}
	at := w.Decision.Position
	g.outcomes.Deliver(w.Decision.Outcomes) // before the replica hears, so that whoever it answers finds them
	g.progress.Reach(at)                    // whoever finds a volume finds it replayed, too
	a.host.learnVolumes(g, at)
	g.postUrgent(func(r *group.Replica) {
		for _, c := range w.Commits {
			r.Applied(c, at)
		}
	})
	return nil
}

// flush makes the engine durable and lets the raft log drop what neither it nor
// any member of the group needs.
func (a *appliers) flush(g *Group) error {
	flushed, err := g.engine.Flush()
	if err != nil {
		return err
	}
	g.postUrgent(func(r *group.Replica) {
		to := min(flushed.Index, r.Floor())
		keep := pinetree.RaftIndex(a.host.cfg.Options.KeepEntries)
		if to <= keep || to-keep <= g.compacted {
			return
		}
		g.compacted = to - keep
		compact := g.compacted
		// While closing there is nothing to compact.
		_ = a.host.writer.put(logJob{reply: make(chan error, 1), do: func(s raftlog.Store) error {
			return s.Compact(g.id, compact)
		}})
	})
	return nil
}

func (a *appliers) close() {
	a.mu.Lock()
	a.quit = true
	a.mu.Unlock()
	a.cond.Broadcast()
	a.wait.Wait()
}
