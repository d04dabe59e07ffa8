package group

import (
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
)

// The leader decides how much of the log is kept, and every message tells its
// members. What is durable here and everywhere may go. A member that answers is
// waited for; one that does not for long, or that lags too much in bytes, is
// left behind and gets a snapshot when it comes back. While a snapshot is on its
// way, what follows on it is kept, for a bounded time.

// laggard is a member as the log's retention sees it.
type laggard struct {
	match  pinetree.RaftIndex
	silent time.Duration
	lag    int64 // bytes of log that it lacks, as far as is known
	// snapshot is the index of one that is on its way; zero when none is.
	snapshot pinetree.RaftIndex
}

// needs is up to where the log may go as far as one member is concerned, at most
// floor. The log begins at first.
func (l laggard) needs(floor, first pinetree.RaftIndex, opt *Options) pinetree.RaftIndex {
	limit := opt.MaxLogBytes
	if l.silent < opt.InactiveAfter {
		limit *= activeShare
	}
	switch {
	case l.snapshot > 0:
		return min(floor, l.snapshot)
	case l.match >= floor || l.match+1 < first || l.lag > limit:
		return floor // it has it, or it needs a snapshot whatever is kept
	}
	return l.match
}

// activeShare is how many times more log is kept for a member that answers than
// for one that does not: it is cut off only before the disk is full.
const activeShare = 4

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
	first := pinetree.RaftIndex(begin)
	r.rn.WithProgress(func(member uint64, _ raft.ProgressType, pr raftProgress) {
		id := pinetree.NodeID(member)
		if id == r.cfg.Node {
			return
		}
		l := laggard{match: pinetree.RaftIndex(pr.Match), silent: r.silence(id), snapshot: r.onItsWay(id, pinetree.RaftIndex(pr.Match))}
		l.lag = r.size.since(l.match)
		needs := l.needs(floor, first, &r.opt)
		if needs == floor && l.match >= r.floor && l.match < floor && l.match+1 >= first {
			r.log.Warn("a member is left behind: the log that it lacks is given up, and it will need a snapshot",
				"member", id, "silent", l.silent, "bytes", l.lag, "index", l.match)
		}
		floor = needs
	})
	r.floor = max(r.floor, floor)
}

// silence is for how long a member has not answered this leader.
func (r *Replica) silence(id pinetree.NodeID) time.Duration {
	if at, heard := r.lead.contact[id]; heard {
		return r.now.Sub(at)
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
// concerned. It never falls.
func (r *Replica) Floor() pinetree.RaftIndex { return r.floor }

// LearnFloor takes the leader's word for Floor.
func (r *Replica) LearnFloor(floor pinetree.RaftIndex) { r.floor = max(r.floor, floor) }

// logSize knows about how many bytes of entries are in the log above an index,
// of what was appended since the start. It has a mark every so many bytes, and
// forgets the oldest.
type logSize struct {
	marks []sizeMark
	total int64
}

// sizeMark is how much was appended up to and including an index.
type sizeMark struct {
	index pinetree.RaftIndex
	total int64
}

const (
	marksPerLimit = 32 // of Options.MaxLogBytes
	maxMarks      = marksPerLimit * (activeShare + 1)
)

// append counts entries, which may overwrite the end of the log.
func (s *logSize) append(entries []*raftpb.Entry, limit int64) {
	if len(entries) == 0 {
		return
	}
	first := pinetree.RaftIndex(entries[0].GetIndex())
	for n := len(s.marks); n > 0 && s.marks[n-1].index >= first; n = len(s.marks) {
		s.marks = s.marks[:n-1]
		s.total = 0
		if n > 1 {
			s.total = s.marks[n-2].total
		}
	}
	step := max(1, limit/marksPerLimit)
	for _, e := range entries {
		s.total += int64(len(e.GetData()))
		if n := len(s.marks); n == 0 || s.total-s.marks[n-1].total >= step {
			s.marks = append(s.marks, sizeMark{pinetree.RaftIndex(e.GetIndex()), s.total})
		}
	}
	if n := len(s.marks) - maxMarks; n > 0 {
		s.marks = append(s.marks[:0], s.marks[n:]...)
	}
}

// since is how many bytes follow on an index, to within a step: at least that
// many, unless the log is so long that the start is forgotten.
func (s *logSize) since(index pinetree.RaftIndex) int64 {
	for n := len(s.marks) - 1; n >= 0; n-- {
		if s.marks[n].index <= index {
			return s.total - s.marks[n].total
		}
	}
	if len(s.marks) == 0 {
		return 0
	}
	return s.total - s.marks[0].total
}
