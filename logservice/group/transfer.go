package group

import (
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/retention"
)

type raftProgress = tracker.Progress

// TransferOrder is the manager's order to hand the leadership over.
type TransferOrder struct {
	Appointment pinetree.AppointmentID // whose lease is released first, for good
	To          pinetree.NodeID
	MaxPause    time.Duration // zero is the default
	MaxLag      int           // bytes of log that the target may lack; zero is the default
	Check       bool          // only tell whether it would be refused
}

// TransferResult tells how a transfer went.
type TransferResult struct {
	Released    bool // the lease is given up
	Transferred bool // another replica leads, or is about to
	Pause       time.Duration
	Reason      string // why not
	Lags        bool   // for no other reason than that the target lags, which may pass
}

// transfer is a hand-over under way. Proposals wait meanwhile.
type transfer struct {
	to       pinetree.NodeID
	began    lease.Instant
	deadline lease.Instant
	done     func(TransferResult, error)
}

func (t *transfer) end(now lease.Instant, transferred bool, reason string) {
	t.done(TransferResult{Released: true, Transferred: transferred, Pause: now.Sub(t.began), Reason: reason}, nil)
}

// Transfer hands the leadership over: refused when the target lags too much,
// otherwise the lease is released, proposals wait, and raft brings the target
// up to date and tells it to take over. If that has not happened within the
// pause, this replica leads on. It waits for no disk write here.
func (r *Replica) Transfer(o TransferOrder, done func(TransferResult, error)) {
	r.lookAtRole()
	if r.lead.term == 0 || r.stopped != nil {
		done(TransferResult{}, r.notLeader())
		return
	}
	if o.MaxLag <= 0 {
		o.MaxLag = r.opt.MaxTransferLag
	}
	if reason, lags := r.refuseTransfer(o); reason != "" || o.Check {
		done(TransferResult{Reason: reason, Lags: lags}, nil)
		return
	}
	if o.MaxPause <= 0 {
		o.MaxPause = r.opt.MaxPause
	}
	r.propose() // what was taken goes with the transfer, not after it
	r.holder.Release(o.Appointment)
	r.publish()
	r.moving = &transfer{to: o.To, began: r.now, deadline: r.now.Add(o.MaxPause), done: done}
	r.rn.TransferLeader(uint64(o.To))
	r.log.Info("hands the leadership over", "to", o.To, "released", o.Appointment)
}

// refuseTransfer says why a transfer would not work, or nothing, and whether it is
// for no other reason than a lag.
func (r *Replica) refuseTransfer(o TransferOrder) (reason string, lags bool) {
	switch {
	case o.Appointment < r.holder.Appointment():
		// A late order, whose release would leave the lease with this leader.
		return fmt.Sprintf("the order is older than this leader's appointment: it releases %d, the leader has %d", o.Appointment, r.holder.Appointment()), false
	case r.moving != nil:
		return fmt.Sprintf("a transfer to node %d is under way", r.moving.to), false
	case o.To == r.cfg.Node:
		return "the target leads already", false
	case !slices.Contains(r.conf.members.Voters, o.To):
		return fmt.Sprintf("node %d is no voter of the group", o.To), false
	case !r.lead.ready:
		return "this leader has not applied an entry of its own raft term yet", false
	}
	last, err := r.cfg.Log.LastIndex()
	if err != nil {
		return err.Error(), false
	}
	reason = fmt.Sprintf("node %d is unknown to raft", o.To)
	r.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr raftProgress) {
		if pinetree.NodeID(id) != o.To {
			return
		}
		lag := retention.Lag(r.cfg.Log, pinetree.RaftIndex(pr.Match), pinetree.RaftIndex(last), o.MaxLag)
		switch lags = lag > o.MaxLag; {
		case !r.answers(o.To):
			reason, lags = fmt.Sprintf("node %d does not answer this leader", o.To), false
		case lags:
			reason = fmt.Sprintf("node %d lacks at least %d bytes of log, the bound is %d; try again when it has caught up", o.To, lag, o.MaxLag)
		default:
			reason = ""
		}
	})
	return reason, lags
}

// watchTransfer takes the leadership back when the pause is over: raft itself
// would keep writers waiting for an election timeout.
func (r *Replica) watchTransfer() {
	if r.moving == nil || r.now < r.moving.deadline {
		return
	}
	t := r.moving
	r.moving = nil
	r.rn.TransferLeader(uint64(r.cfg.Node))
	reason := fmt.Sprintf("node %d did not take over within %v; this replica leads on", t.to, t.deadline.Sub(t.began))
	r.log.Warn("transfer aborted", "reason", reason)
	t.end(r.now, false, reason)
}

// Deadline is the next instant at which a turn is due without an event; zero
// when there is none.
func (r *Replica) Deadline() lease.Instant {
	var due lease.Instant
	if r.appoint.id != 0 && !r.appoint.wait {
		due = r.appoint.next
	}
	if r.moving != nil && (due == 0 || r.moving.deadline < due) {
		due = r.moving.deadline
	}
	if news := r.lead.news.Due(); news != 0 && (due == 0 || news < due) {
		due = news
	}
	return due
}
