package group

import (
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/news"
)

// rest is how a leader of whom nobody wants anything goes quiet: it is ticked no
// more, sends no heartbeats and asks for no lease, until something happens. Raft
// needs none of it while every member has the whole log and knows that it is
// committed, so the leader first asks them all, by a heartbeat whose context they
// send back. The lease lapses, and the next default read, answered by a quorum,
// is what wakes the leader to ask for it again.
type rest struct {
	last    pinetree.RaftIndex // the log's end at the last tick
	since   lease.Instant      // nothing was wanted of this leader since then
	asked   news.Question      // whether every member knows the commit index
	quiet   bool
	stirred bool          // a peer wants something
	woke    lease.Instant // when it was quiet last
}

// Touch takes note that somebody reads under the lease.
func (r *Replica) Touch() { r.lead.rest.since = r.now }

// Idle tells that the replica needs no tick until something happens to it.
func (r *Replica) Idle() bool {
	return r.stopped != nil || len(r.reads.asked)+len(r.reads.waiting) == 0 && (r.lead.term == 0 || r.lead.rest.quiet)
}

// goQuiet lets a leader rest after QuietAfter without any wish. It is called
// once a tick.
func (r *Replica) goQuiet() {
	s := &r.lead.rest
	if last := r.logEnd(); last != s.last || !r.atRest(last) {
		s.last, s.since = last, r.now
	}
	s.stirred = false
	switch {
	case r.now.Sub(s.since) < r.opt.QuietAfter:
		s.asked = news.Question{}
	case s.asked.Overdue(r.now, r.opt.ReadRetry):
		s.asked.Ask(r.askAll(), r.now)
	default:
		s.quiet = s.asked.AnsweredBy(r.conf.members.All(), r.cfg.Node)
	}
}

// askAll tells every member the commit index by a heartbeat under a context of
// its own, which is longer than raft's. Every member has the log up to there.
func (r *Replica) askAll() []byte {
	context := r.reads.freshContext(r.cfg.Node)
	from, term, commit := uint64(r.cfg.Node), uint64(r.lead.term), r.basic.HardState.GetCommit()
	for _, id := range r.conf.members.All() {
		if to := uint64(id); id != r.cfg.Node {
			r.outbox = append(r.outbox, &raftpb.Message{
				Type: raftpb.MsgHeartbeat.Enum(), From: &from, To: &to, Term: &term, Commit: &commit, Context: context,
			})
		}
	}
	return context
}

// answersUs takes in the answer to one of our own heartbeats, which raft must not
// see: it would take the context for the number of a read.
func (r *Replica) answersUs(m *raftpb.Message) bool {
	if m.GetType() != raftpb.MsgHeartbeatResp || len(m.GetContext()) != contextBytes {
		return false
	}
	r.lead.rest.asked.Hear(m)
	return true
}

// logEnd is the last index that raft knows of, zero before this leader's first.
func (r *Replica) logEnd() pinetree.RaftIndex {
	var last pinetree.RaftIndex
	r.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr raftProgress) {
		if pinetree.NodeID(id) == r.cfg.Node {
			last = pinetree.RaftIndex(pr.Match)
		}
	})
	return last
}

// atRest tells that this leader owes nobody anything: its log ends at last, is
// committed and applied, every member has it and was heard of lately.
func (r *Replica) atRest(last pinetree.RaftIndex) bool {
	if !r.mayAnswer() || r.wanted() || r.lead.saved < last || r.position.Index < last ||
		pinetree.RaftIndex(r.basic.HardState.GetCommit()) < last {
		return false
	}
	rests := true
	r.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr raftProgress) {
		if pinetree.NodeID(id) == r.cfg.Node {
			return
		}
		rests = rests && pinetree.RaftIndex(pr.Match) >= last && r.answers(pinetree.NodeID(id))
	})
	return rests
}

// wanted tells that somebody waits for this leader.
func (r *Replica) wanted() bool {
	return len(r.flight.proposals) > 0 || len(r.reads.asked)+len(r.reads.waiting) > 0 || len(r.sending.to) > 0 ||
		r.busy() || r.lead.rest.stirred
}

// wake ends the rest of a leader of whom something is wanted.
func (r *Replica) wake() {
	s := &r.lead.rest
	if s.quiet && r.wanted() {
		s.quiet, s.stirred, s.since, s.woke = false, false, r.now, r.now
	}
}

// unanswered is how much of the time since an answer this leader has asked for
// another: a quiet one asks for none.
func (r *Replica) unanswered(age time.Duration) time.Duration {
	switch s := r.lead.rest; {
	case s.quiet:
		return 0
	case s.woke != 0:
		return min(age, r.now.Sub(s.woke))
	}
	return age
}

// isQuiet tells that the age of the last quorum's answer says nothing about this
// leader's health: it did not ask, or not for long enough.
func (r *Replica) isQuiet() bool {
	return r.lead.term != 0 && (r.lead.rest.quiet || r.unanswered(r.QuorumAge()) < min(r.QuorumAge(), r.opt.SuspectAfter))
}
