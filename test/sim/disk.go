package sim

import (
	"errors"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/memlog"
)

// disk is a node's raft log and the one who writes it: all saves that wait
// share one fsync, which takes its time, goes on while the process pauses, and
// of which a power cut leaves any prefix.
type disk struct {
	node *node
	log  *memlog.Store
	// synced holds all that surely survives, and is never compacted: what the
	// checkers go by.
	synced   *memlog.Store
	lost     []*memlog.Store   // synced, of the disks that the node had before
	unsynced []*raftlog.Update // in the order of log's unsynced operations; nil for a compaction
	jobs     []job
	busy     bool
	failed   bool
	since    time.Duration // since when the fsync under way runs
	slow     between       // latency of an fsync
}

// job is a save of a replica, or a compaction.
type job struct {
	member  *member
	save    group.Save
	compact pinetree.RaftIndex
}

func newDisk(n *node) *disk {
	return &disk{node: n, log: memlog.New(), synced: memlog.New(), slow: n.w.plan.fsync}
}

// create makes a group's log, durably.
func (d *disk) create(u raftlog.Update) {
	d.check(d.log.Save([]raftlog.Update{u}))
	d.check(d.synced.Save([]raftlog.Update{u}))
}

func (d *disk) check(err error) {
	if err != nil {
		d.node.w.fail("%s: raft log: %w", d.node.name, err)
	}
}

func (d *disk) put(j job) {
	if d.failed {
		return
	}
	d.jobs = append(d.jobs, j)
	if d.busy {
		return
	}
	d.busy = true
	// The writer wakes up a little later and takes all that has come.
	d.node.after(d.node.w.span(between{0, 50 * time.Microsecond}), d.write)
}

// write saves everything that waits and, if anything asks for it, syncs.
func (d *disk) write() {
	w, jobs := d.node.w, d.jobs
	d.jobs = nil
	if len(jobs) == 0 {
		d.busy = false
		return
	}
	sync := false
	for _, j := range jobs {
		if j.gone() {
			continue
		}
		if j.compact > 0 {
			d.compact(j)
			continue
		}
		u := j.save.Update
		sync = sync || u.MustSync
		u.MustSync = false
		if err := d.log.Save([]raftlog.Update{u}); errors.Is(err, raftlog.ErrFailed) {
			d.fail(err)
			return
		} else {
			d.check(err)
		}
		d.unsynced = append(d.unsynced, &u)
	}
	if w.cfg.Mutant == SavedBeforeSync {
		d.tell(jobs)
	}
	if !sync {
		d.finish(jobs)
		return
	}
	if len(jobs) > 1 {
		w.mark(GroupCommit)
	}
	d.since = w.now
	life := d.node.life
	w.after(w.span(d.slow), func() {
		if !d.node.up || d.node.life != life || d.failed {
			return
		}
		d.sync(jobs[0].member.group)
		if !d.failed {
			d.node.after(0, func() { d.finish(jobs) })
		}
	})
}

// sync makes all that was written durable.
func (d *disk) sync(any pinetree.GroupID) {
	if d.node.w.cfg.Mutant != NoSync {
		err := d.log.Save([]raftlog.Update{{Group: any, MustSync: true}})
		if errors.Is(err, raftlog.ErrFailed) {
			d.node.after(0, func() { d.fail(err) })
			d.failed = true
			return
		}
		d.check(err)
	}
	d.keep(len(d.unsynced))
	d.unsynced = nil
	d.since = 0
}

// keep notes that the first unsynced writes are durable.
func (d *disk) keep(n int) {
	for _, u := range d.unsynced[:n] {
		if u != nil {
			durable := *u
			durable.MustSync = true
			d.check(d.synced.Save([]raftlog.Update{durable}))
		}
	}
}

func (d *disk) compact(j job) {
	before := d.log.Unsynced()
	if err := d.log.Compact(j.member.group, j.compact); !errors.Is(err, raftlog.ErrFailed) {
		d.check(err)
	}
	if d.log.Unsynced() > before {
		d.unsynced = append(d.unsynced, nil)
		d.node.w.mark(Compaction)
	}
}

// finish tells the replicas and goes on with what has come meanwhile.
func (d *disk) finish(jobs []job) {
	if d.node.w.cfg.Mutant != SavedBeforeSync {
		d.tell(jobs)
	}
	d.write()
}

func (d *disk) tell(jobs []job) {
	for _, j := range jobs {
		if j.compact == 0 && j.save.Awaited() && !j.gone() {
			save := j.save
			j.member.post(func(r *group.Replica) { r.Saved(save) })
		}
	}
}

// fail stops every replica of the node: what the disk holds is not known any
// more, until a restart reads it.
func (d *disk) fail(err error) {
	d.failed = true
	d.node.w.mark(DiskFailed)
	d.node.w.note(d.node.name, "stops: its disk has failed")
	for _, m := range d.node.seats() {
		m.post(func(r *group.Replica) { r.Stop(err) })
	}
}

// crash ends what is under way and forgets what was not synced, or a part of
// it.
func (d *disk) crash(keep int) {
	if d.log.Unsynced() > keep {
		d.node.w.mark(LostWrite)
	}
	if d.node.w.cfg.Mutant == NoSync {
		keep = 0
	} else {
		d.keep(keep)
	}
	d.log.CrashKeeping(keep)
	d.unsynced, d.jobs, d.busy, d.since, d.failed = nil, nil, false, 0, false
}

// holds tells whether an entry surely survives here.
func (d *disk) holds(id pinetree.GroupID, at raftlog.Point) bool {
	for _, disk := range append([]*memlog.Store{d.synced}, d.lost...) {
		term, err := disk.View(id).Term(uint64(at.Index))
		if err == nil && pinetree.RaftTerm(term) == at.Term || errors.Is(err, raftlog.ErrCompacted) {
			return true // what is below a snapshot is in the engine
		}
	}
	return false
}

// pending is for how long the fsync under way has run.
func (d *disk) pending() time.Duration {
	if d.since == 0 {
		return 0
	}
	return d.node.w.now - d.since
}
