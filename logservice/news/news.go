// Package news holds back what tells of nothing but a new commit index. A leader's
// messages of that kind cost each follower a turn and an answer, and while entries
// keep coming the next ones tell the same a moment later. When no entries came
// lately nothing waits. A lost one would do no harm: heartbeats tell the commit
// index, too. Unwritten does the like for the raft log, and Question asks all
// members whether they know the commit index. It is pure.
package news

import (
	"maps"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree/lease"
)

// Desk is where the news of one leadership wait. The zero Desk is empty.
type Desk struct {
	waiting      map[uint64]*raftpb.Message // by receiver
	due          lease.Instant              // when they leave; zero when none waits
	last, before lease.Instant              // when entries were last proposed, and the time before
}

// Entries takes note that entries are proposed now.
func (d *Desk) Entries(now lease.Instant) { d.before, d.last = d.last, now }

// Hold tells whether a message is kept back, for no longer than delay. Entries
// for the same follower take the place of what waits.
func (d *Desk) Hold(m *raftpb.Message, now lease.Instant, delay time.Duration) bool {
	if m.GetType() != raftpb.MsgApp {
		return false
	}
	if len(m.Entries) > 0 {
		delete(d.waiting, m.GetTo())
		return false
	}
	if d.before == 0 || now.Sub(d.before) >= delay {
		delete(d.waiting, m.GetTo())
		return false
	}
	if d.waiting == nil {
		d.waiting = map[uint64]*raftpb.Message{}
	}
	if len(d.waiting) == 0 {
		d.due = now.Add(delay)
	}
	d.waiting[m.GetTo()] = m
	return true
}

// Due is when Take is to be called; zero when nothing waits.
func (d *Desk) Due() lease.Instant { return d.due }

// Take removes and returns, in the order of receivers, what waits.
func (d *Desk) Take() []*raftpb.Message {
	var taken []*raftpb.Message
	for _, to := range slices.Sorted(maps.Keys(d.waiting)) {
		taken = append(taken, d.waiting[to])
	}
	clear(d.waiting)
	d.due = 0
	return taken
}
