package host

import (
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/raftlog"
)

// flushBytes is how much is replayed before the engine is asked to flush, also
// between the askings by time: little enough that a raft log's sync does not wait
// long for the disk meanwhile.
const flushBytes = 16 << 20

// maxReplayBytes is about how much is replayed in one engine write.
const maxReplayBytes = 12 << 20

// stuckAfter is how long an engine may take for one write before somebody else
// takes the place of the applier that waits for it.
const stuckAfter = 500 * time.Millisecond

// appliers replay committed entries beside the workers: a group by at most one
// goroutine at a time, in order. What waits is bounded by raft, which hands out
// no more than MaxCommittedSizePerReady before it hears that it was applied.
//
// So many of them work side by side, not counting those whose engine hangs:
// there are never more than that and the groups.
type appliers struct {
	host *Host
	most int
	wait sync.WaitGroup

	mu     sync.Mutex
	cond   sync.Cond
	due    []*Group
	atWork map[*Group]lease.Instant // since when; zero when it is stuck
	count  int                      // of goroutines
	stuck  int                      // of them
	quit   bool
}

// backlog is a group's part of the appliers' work.
type backlog struct {
	mu      sync.Mutex
	commits []group.Commit
	flush   bool // the engine is to flush, so that the log can be compacted
	busy    bool // scheduled or being worked on
	// unflushed is about how many bytes were replayed since the last flush.
	unflushed int

	arrival  *arrival   // the engine is to take it over after the commits
	unwanted []*arrival // to be closed
}

func startAppliers(h *Host, n int) *appliers {
	a := &appliers{host: h, most: max(1, n), atWork: map[*Group]lease.Instant{}}
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
	a.schedule(g, func(b *backlog) { b.commits = append(b.commits, c) })
}

func (a *appliers) askFlush(g *Group) {
	a.schedule(g, func(b *backlog) { b.flush = true })
}

func (a *appliers) schedule(g *Group, add func(*backlog)) {
	g.backlog.mu.Lock()
	add(&g.backlog)
	start := !g.backlog.busy
	g.backlog.busy = true
	g.backlog.mu.Unlock()
	if start {
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
		a.atWork[g] = a.host.cfg.Clock()
		a.mu.Unlock()
		a.work(g)
		a.mu.Lock()
		wasStuck := a.atWork[g] == 0
		delete(a.atWork, g)
		if a.finish(g) {
			a.due = append(a.due, g)
			a.cond.Signal()
		}
		if wasStuck {
			if a.stuck--; a.count-a.stuck > a.most {
				return // another one has taken its place
			}
		}
	}
}

// look finds those whose engine hangs, and has others started in their place.
func (a *appliers) look() {
	now := a.host.cfg.Clock()
	a.mu.Lock()
	defer a.mu.Unlock()
	for g, since := range a.atWork {
		if since != 0 && now.Sub(since) > stuckAfter && !a.quit {
			a.atWork[g] = 0
			a.stuck++
			a.start()
		}
	}
}

// work replays one write's worth of a group.
func (a *appliers) work(g *Group) {
	g.backlog.mu.Lock()
	commits, flush := g.backlog.take()
	g.backlog.mu.Unlock()
	err := g.applyErr
	if err == nil && len(commits) > 0 {
		err = a.apply(g, commits)
	}
	err = a.takeOver(g, err)
	if err == nil && flush {
		err = a.flush(g)
	}
	if err != nil && g.applyErr == nil {
		g.applyErr = err
		g.progress.Stop()
		g.postUrgent(func(r *group.Replica) { r.Stop(err) })
	}
}

// finish tells whether there is more to do for a group after its work, so that it
// is put back in line.
func (a *appliers) finish(g *Group) (more bool) {
	g.backlog.mu.Lock()
	defer g.backlog.mu.Unlock()
	g.backlog.busy = len(g.backlog.commits) > 0 || g.backlog.flush || g.backlog.arrivals()
	return g.backlog.busy
}

// take removes commits of about one engine write from the backlog, and tells
// whether the engine is to flush after them.
func (b *backlog) take() ([]group.Commit, bool) {
	n, bytes := 0, 0
	for ; n < len(b.commits) && (n == 0 || bytes < maxReplayBytes); n++ {
		for _, e := range b.commits[n].Entries {
			bytes += len(e.GetData())
		}
	}
	taken := b.commits[:n:n]
	b.commits = append([]group.Commit(nil), b.commits[n:]...)
	b.unflushed += bytes
	flush := b.flush || b.unflushed >= flushBytes
	if flush {
		b.flush, b.unflushed = false, 0
	}
	return taken, flush
}

func (a *appliers) apply(g *Group, commits []group.Commit) error {
	write, err := group.Replay(g.engine, commits)
	if err != nil {
		return err
	}
	g.progress.tails.Committed(write.Batches)
	if err := g.engine.Apply(write.Write); err != nil {
		return err
	}
	g.outcomes.Deliver(write.Outcomes) // before the replica hears, so that whoever it answers finds them
	a.host.learnVolumes(g, write.Position)
	g.progress.Reach(write.Position)
	g.postUrgent(func(r *group.Replica) {
		for _, c := range commits {
			r.Applied(c, write.Position)
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
