package host

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/sharing"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/raftlog"
)

// logWriter is the one goroutine that writes the node's raft log: all saves
// that wait become durable with one fsync. What waits is bounded by the
// replicas' limits of bytes in flight.
type logWriter struct {
	host *Host

	mu     sync.Mutex
	jobs   []logJob
	closed bool
	failed error // belongs to run

	users sharing.Users[pinetree.GroupID] // noted by run alone

	wake chan struct{}
	done chan struct{}

	lastSync atomic.Int64 // lease.Instant
	pending  atomic.Int64 // lease.Instant of the save under way, zero when none
	usual    atomic.Int64 // usual time of a synced write, written by run alone
}

// logJob is a save of a group, or anything else to do with the store.
type logJob struct {
	group *Group
	save  group.Save
	do    func(raftlog.Store) error
	reply chan error
}

func startLogWriter(h *Host) *logWriter {
	l := &logWriter{host: h, wake: make(chan struct{}, 1), done: make(chan struct{})}
	l.lastSync.Store(int64(h.cfg.Clock()))
	go l.run()
	return l
}

func (l *logWriter) put(j logJob) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosing
	}
	l.jobs = append(l.jobs, j)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

// save queues a replica's write; the replica hears when it is done.
func (l *logWriter) save(g *Group, s group.Save) {
	// While closing, nobody is left to hear of it.
	_ = l.put(logJob{group: g, save: s})
}

// do runs fn on the writer's goroutine, between saves.
func (l *logWriter) do(ctx context.Context, fn func(raftlog.Store) error) error {
	reply := make(chan error, 1)
	if err := l.put(logJob{do: fn, reply: reply}); err != nil {
		return err
	}
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-l.done:
		return errClosing
	}
}

func (l *logWriter) run() {
	defer close(l.done)
	probe := time.NewTicker(l.host.cfg.Options.ProbeInterval)
	defer probe.Stop()
	for {
		select {
		case <-l.wake:
		case <-probe.C:
			l.probe()
			l.host.space.Look(l.host.cfg.Log, l.host.cfg.Logger)
		}
		l.mu.Lock()
		jobs, closed := l.jobs, l.closed
		l.jobs = nil
		l.mu.Unlock()
		l.work(jobs)
		if closed {
			return
		}
	}
}

// work saves runs of writes together and does the other jobs in between.
func (l *logWriter) work(jobs []logJob) {
	for len(jobs) > 0 {
		n := 0
		for n < len(jobs) && jobs[n].do == nil {
			n++
		}
		if n > 0 {
			l.saveAll(jobs[:n])
			jobs = jobs[n:]
			continue
		}
		err := l.failed
		if err == nil {
			err = l.timed(false, func() error { return jobs[0].do(l.host.cfg.Log) })
		}
		jobs[0].reply <- err
		jobs = jobs[1:]
	}
}

func (l *logWriter) saveAll(jobs []logJob) {
	if l.failed != nil {
		return
	}
	updates := make([]raftlog.Update, len(jobs))
	sync := false
	now := l.host.cfg.Clock()
	for i, j := range jobs {
		if len(j.save.Update.Entries) > 0 {
			l.users.Note(j.group.id, now)
		}
		updates[i] = j.save.Update
		updates[i].Sums = storepb.Sums(updates[i].Entries)
		sync = sync || j.save.Update.MustSync
	}
	err := l.timed(sync, func() error { return l.host.cfg.Log.Save(updates) })
	if err != nil {
		l.fail(err)
		return
	}
	for _, j := range jobs {
		if !j.save.Awaited() {
			continue
		}
		save := j.save
		_ = j.group.worker.put(event{group: j.group, do: func(r *group.Replica) { r.Saved(save) }}, completion)
	}
	waits := l.waits()
	for _, w := range l.host.workers {
		w.serve(waits)
	}
}

// waits tells whether there is more to write.
func (l *logWriter) waits() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.jobs) > 0
}

// timed runs a call to the store under the watch of health.
func (l *logWriter) timed(sync bool, call func() error) error {
	began := int64(l.host.cfg.Clock())
	l.pending.Store(began)
	err := call()
	l.pending.Store(0)
	if err == nil && sync {
		now := int64(l.host.cfg.Clock())
		l.lastSync.Store(now)
		// Each counts an eighth, the first one all.
		if usual := l.usual.Load(); usual == 0 {
			l.usual.Store(now - began)
		} else {
			l.usual.Store(usual + (now-began-usual)/8)
		}
	}
	return err
}

// fail stops every replica of the node: what the disk holds is not known any
// more, and nothing is tried again on the same file.
func (l *logWriter) fail(err error) {
	l.failed = err
	for _, g := range l.host.Groups() {
		g.postUrgent(func(r *group.Replica) { r.Stop(err) })
	}
}

// probe proves that the disk answers while nothing is saved.
func (l *logWriter) probe() {
	quiet := time.Duration(int64(l.host.cfg.Clock()) - l.lastSync.Load())
	if l.failed != nil || quiet < l.host.cfg.Options.ProbeInterval {
		return
	}
	if err := l.timed(true, l.host.cfg.Log.Probe); err != nil {
		l.fail(err)
	}
}

func (l *logWriter) health() DiskHealth {
	now := int64(l.host.cfg.Clock())
	h := DiskHealth{FsyncAge: time.Duration(now - l.lastSync.Load()), Usual: time.Duration(l.usual.Load())}
	if since := l.pending.Load(); since != 0 {
		h.Pending = time.Duration(now - since)
	}
	return h
}

// close lets the jobs that wait finish and ends the goroutine.
func (l *logWriter) close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	select {
	case <-l.done:
		return nil
	case <-time.After(time.Second):
		return errors.New("raft log: a write hangs on the disk; it was left behind")
	}
}
