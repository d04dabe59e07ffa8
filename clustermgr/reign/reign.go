package reign

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/members"
	"github.com/pinetree-db/pinetree/clustermgr/orders"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/clustermgr/settings"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Config is what a manager needs to know.
type Config = settings.Config

// Reign is the time during which this manager is the active one. Everything in
// it below "the owner's" belongs to the goroutine that runs own; the others
// hand it functions by do. What waits for the network or the store is a task
// beside it. The reign ends when its context does, and run waits for all.
type Reign struct {
	cfg    Config
	office ledger.Office
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelCauseFunc
	dial   *orders.Nodes
	hands  members.Hands
	scribe ledger.Scribe
	inbox  chan func()
	ended  chan struct{} // closed when the owner's goroutine is over
	tasks  sync.WaitGroup

	// The owner's.
	claimed    lease.Instant // the office is surely held until here
	since      lease.Instant // from here on no other manager grants
	cluster    ledger.Kept[ledger.Cluster]
	counters   ledger.Kept[ledger.Counters]
	nodes      map[pinetree.NodeID]*node
	groups     map[pinetree.GroupID]*group
	deleted    map[pinetree.GroupID]*group // of which nodes may still have files
	volumes    map[pinetree.VolumeID]*ledger.Kept[ledger.Volume]
	names      map[string]pinetree.VolumeID // of volumes
	events     ledger.Events
	addresses  uint64        // rises when any node's address changes
	changed    chan struct{} // closed and replaced when waiters should look again
	operations int           // under way
	chores     chores
	turn       uint64 // of look
	// led counts the groups that each node is appointed to lead.
	led map[pinetree.NodeID]int
}

// node is a storage node. It belongs to the reign's owner.
type node struct {
	ledger.Kept[ledger.Node]
	vitals   policy.Vitals
	session  *session
	reported lease.Instant // when replicas was; zero when never in this reign
	replicas map[pinetree.GroupID]*wirepb.ReplicaStatus
	// As of reported.
	fsyncAge, fsyncPending time.Duration
	load                   uint32        // in thousandths of its processors
	noted                  policy.Health // the last one that was logged
	notedAt                lease.Instant // when; zero when it never changed in this reign
	note                   string        // what draining waits for
}

func (n *node) target() orders.Target { return orders.Target{Node: n.Is.ID, Address: n.Is.Address} }

// group is a raft group. It belongs to the reign's owner, but for its id.
type group struct {
	id pinetree.GroupID
	ledger.Kept[ledger.Group]
	granter    lease.Granter
	activating bool // the record of an activation is being written
	waiting    bool // a claim waits for another node's lease to end
	verdict    lease.Verdict
	claimed    bool // whether there was a verdict
	grants     uint64
	activated  lease.Instant // when the last activation was recorded

	busy     string // the operation under way
	rests    bool   // nothing was needed when it was last looked at
	retryAt  lease.Instant
	settled  lease.Instant // until here no change of leaders is begun
	failures int
	placed   map[pinetree.NodeID]bool
	reason   string                     // why it has no leader, or why the last operation failed
	pending  map[pinetree.VolumeID]bool // volumes that the group does not have yet

	progress policy.Progress

	changing   bool          // a step of a change of replicas is under way
	changeAt   lease.Instant // not before here is the next one begun
	changeNote string        // what the change waits for
}

// do runs fn in the owner's goroutine and waits for it.
func (r *Reign) do(ctx context.Context, fn func()) error {
	done := make(chan struct{})
	select {
	case r.inbox <- func() { fn(); close(done) }:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.ctx.Done():
		return NotActive("")
	}
	select {
	case <-done:
		return nil
	case <-r.ended: // not before the end of an fn that had begun
		return NotActive("")
	}
}

// tell is do for a task, which ends with the reign.
func (r *Reign) tell(fn func()) { _ = r.do(r.ctx, fn) }

// spawn runs a task beside the owner.
func (r *Reign) spawn(task func()) { r.tasks.Go(task) }

// Run reigns until the context ends or the office is lost, and says why.
func (r *Reign) Run() error {
	r.spawn(func() { r.cancel(r.scribe.Run(r.ctx)) })
	r.spawn(r.confirmOffice)
	r.own()
	r.tasks.Wait()
	r.dial.Close()
	return context.Cause(r.ctx)
}

func (r *Reign) own() {
	defer close(r.ended)
	tick := time.NewTicker(r.cfg.Tick)
	defer tick.Stop()
	for {
		select {
		case fn := <-r.inbox:
			fn()
		case <-tick.C:
			r.look()
		case <-r.ctx.Done():
			return
		}
	}
}

// confirmOffice asks the store again and again whether the office is still
// held. The claim counts from before each question, so it is over, by this
// clock, before a new manager believes it is.
func (r *Reign) confirmOffice() {
	tick := time.NewTicker(r.cfg.OfficeConfirm)
	defer tick.Stop()
	for {
		asked := r.cfg.Clock()
		ctx, cancel := context.WithTimeout(r.ctx, r.cfg.OfficeClaim)
		err := r.cfg.Store.Confirm(ctx, r.office)
		cancel()
		switch {
		case err == nil:
			r.tell(func() { r.claimed = asked.Add(scale(r.cfg.OfficeClaim, 1-r.cfg.Lease.MaxDrift)) })
		case errors.Is(err, ledger.ErrNotActive):
			r.cancel(err)
			return
		case r.ctx.Err() == nil:
			r.log.Warn("the store does not confirm the office; grants stop when the claim is over", "err", err)
		}
		select {
		case <-tick.C:
		case <-r.ctx.Done():
			return
		}
	}
}

func scale(d time.Duration, by float64) time.Duration { return time.Duration(float64(d) * by) }

// persist makes a decision durable; see ledger.Scribe.
func (r *Reign) persist(ctx context.Context, prepare func() ([]ledger.Change, error), commit func(revision int64)) error {
	err := r.scribe.Persist(ctx, prepare, func(revision int64) { commit(revision); r.notify() })
	if errors.Is(err, ledger.ErrNotActive) {
		return NotActive("")
	}
	return err
}

// notify wakes those who wait for something to become true.
func (r *Reign) notify() {
	r.chores.news = true
	close(r.changed)
	r.changed = make(chan struct{})
}

// await calls check in the owner's goroutine, at once and after every change,
// until it returns true or an error, or the context ends.
func (r *Reign) await(ctx context.Context, check func() (bool, error)) error {
	for {
		var done bool
		var err error
		var changed chan struct{}
		if e := r.do(ctx, func() { done, err = check(); changed = r.changed }); e != nil {
			return e
		}
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-r.ctx.Done():
			return NotActive("")
		}
	}
}

// event keeps a decision or an observation, and logs it.
func (r *Reign) event(e ledger.Event) {
	r.log.Info(e.Kind, "group", e.Group, "node", e.Node, "appointment", e.Appointment, "cause", e.Cause, "outcome", e.Outcome)
	r.events.Add(e)
	r.scribe.Wake()
}
