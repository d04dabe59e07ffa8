package group

import (
	"time"

	"go.etcd.io/raft/v3"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/retention"
)

// updateFloor decides up to where the log may go. Raft begins a leadership with
// the leader's own log taken for durable, which its end may not be, so this
// replica goes by its own saves.
func (r *Replica) updateFloor() {
	floor := min(r.lead.saved, pinetree.RaftIndex(r.basic.HardState.GetCommit()))
	if floor <= r.floor {
		return
	}
	begin, err := r.cfg.Log.FirstIndex()
	if err != nil {
		return
	}
	limits := retention.Limits{InactiveAfter: r.opt.InactiveAfter, MaxBytes: r.opt.MaxLogBytes}
	r.rn.WithProgress(func(member uint64, _ raft.ProgressType, pr raftProgress) {
		id := pinetree.NodeID(member)
		if id == r.cfg.Node {
			return
		}
		m := retention.Member{Match: pinetree.RaftIndex(pr.Match), Silent: r.silence(id), Snapshot: r.onItsWay(id, pinetree.RaftIndex(pr.Match))}
		if pr.Match == 0 {
			// This leader does not know yet what the member has: it may be all
			// that there is.
			m.Match = max(r.floor, pinetree.RaftIndex(begin)-1)
		}
		m.Lag = r.size.Since(m.Match)
		needs, left := limits.Needs(m, retention.Log{First: pinetree.RaftIndex(begin), Floor: floor})
		if left && m.Match >= r.floor {
			r.log.Warn("a member is left behind: the log that it lacks is given up, and it will need a snapshot",
				"member", id, "silent", m.Silent, "bytes", m.Lag, "index", m.Match)
		}
		floor = needs
	})
	r.floor = max(r.floor, floor)
}

// silence is for how long a member has not answered this leader.
func (r *Replica) silence(id pinetree.NodeID) time.Duration {
	if at, heard := r.lead.contact[id]; heard {
		return r.unanswered(r.now.Sub(at))
	}
	return r.now.Sub(r.lead.since)
}

// onItsWay is the index of a snapshot that is being sent to a member, or whose
// arrival the member has not confirmed yet; zero when there is none.
func (r *Replica) onItsWay(id pinetree.NodeID, match pinetree.RaftIndex) pinetree.RaftIndex {
	sent := r.sending.to[id]
	if sent == nil {
		return 0
	}
	if r.now >= sent.until || sent.reported && match >= sent.index {
		if sent.reported {
			delete(r.sending.to, id)
		}
		return 0
	}
	return sent.index
}

// Floor is the index up to which the log may be compacted as far as the group is
// concerned. A snapshot may be older than what was given up before it: what
// follows on it is kept while it is on its way.
func (r *Replica) Floor() pinetree.RaftIndex {
	floor := r.floor
	for _, sent := range r.sending.to {
		if r.now < sent.until {
			floor = min(floor, sent.index)
		}
	}
	return floor
}

// LearnFloor takes the leader's word for Floor.
func (r *Replica) LearnFloor(floor pinetree.RaftIndex) { r.floor = max(r.floor, floor) }
