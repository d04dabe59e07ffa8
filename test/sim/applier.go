package sim

import (
	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/test/sim/history"
)

// waiter waits for a replica to have replayed enough.
type waiter struct {
	enough func(pinetree.Position) bool
	then   func()
}

// apply starts to replay what is committed, unless that is under way.
func (m *member) apply() {
	if m.applying || len(m.commits) == 0 && !m.flushDue && m.arrived == nil {
		return
	}
	m.applying = true
	w := m.node.w
	commits := m.commits
	if n := 1 + w.rng.IntN(8); n < len(commits) {
		commits = commits[:n:n]
	}
	m.commits = append([]group.Commit(nil), m.commits[len(commits):]...)
	flush := m.flushDue && len(m.commits) == 0
	if w.cfg.Mutant == AppliedBeforeWrite && len(commits) > 0 {
		if write, err := group.Replay(m.engine, commits); err == nil {
			m.reached(commits, write.Position)
		}
	}
	m.node.after(w.span(w.plan.apply), func() {
		if len(commits) > 0 {
			m.replay(commits)
		}
		if len(m.commits) == 0 {
			m.takeOver()
		}
		if flush {
			m.flushDue = false
			m.flush()
		}
		m.applying = false
		m.apply()
	})
}

func (m *member) replay(commits []group.Commit) {
	w := m.node.w
	m.checkCommits(commits)
	write, err := group.Replay(m.engine, m.mutate(commits))
	if err != nil {
		w.fail("%s: group %d: replay: %w", m.node.name, m.group, err)
		return
	}
	m.mutateWrite(commits, &write.Write)
	m.checkWrite(write.Write)
	if err := m.engine.Apply(write.Write); err != nil {
		w.fail("%s: group %d: apply: %w", m.node.name, m.group, err)
		return
	}
	if w.cfg.Mutant != AppliedBeforeWrite {
		m.reached(commits, write.Position)
	}
}

// checkCommits tells the history which entries are committed.
func (m *member) checkCommits(commits []group.Commit) {
	for _, c := range commits {
		for _, e := range c.Entries {
			m.node.w.hist.Committed(m.group, pinetree.RaftIndex(e.GetIndex()), history.Entry{
				Term: pinetree.RaftTerm(e.GetTerm()), Sum: history.Sum(e.GetData()),
			})
		}
	}
}

// checkWrite tells the history what is about to be replayed.
func (m *member) checkWrite(write engine.Write) {
	w := m.node.w
	for _, b := range write.Batches {
		w.hist.Applied(m.node.id, b)
		if w.plan.trims {
			w.hist.Grew(b, w.now)
		}
	}
	m.checkTrimmed(write.Position)
	m.node.w.learnMembers(m.group, write.Position)
	at := write.Position
	at.Restored = 0 // is a replica's own
	position, err := storepb.EncodePosition(at)
	if err != nil {
		w.fail("position: %w", err)
	}
	w.hist.Replayed(m.group, write.Position.Index, position)
}

// reached tells all who wait that the replica is at a position.
func (m *member) reached(commits []group.Commit, at pinetree.Position) {
	m.applied = at
	m.post(func(r *group.Replica) {
		for _, c := range commits {
			r.Applied(c, at)
		}
	})
	waiting := m.waiters
	m.waiters = nil
	for _, q := range waiting {
		m.wait(q)
	}
}

// wait calls back once enough is replayed.
func (m *member) wait(q waiter) {
	if q.enough(m.applied) {
		m.node.after(0, q.then)
		return
	}
	m.waiters = append(m.waiters, q)
}

func (n *node) askFlush() {
	for _, m := range n.seats() {
		m.flushDue = true
		m.apply()
	}
}

// flush makes the engine durable and lets the raft log drop what nobody needs.
func (m *member) flush() {
	w := m.node.w
	flushed := m.engine.Position()
	if w.cfg.Mutant != FlushNothing {
		var err error
		if flushed, err = m.engine.Flush(); err != nil {
			w.fail("%s: flush: %w", m.node.name, err)
			return
		}
	}
	m.post(func(r *group.Replica) {
		to := min(flushed.Index, r.Floor())
		if w.cfg.Mutant == CompactForAll || w.cfg.Mutant == CompactUnderWay && len(m.onTheWay) > 0 {
			to = flushed.Index
		}
		if to <= w.plan.keepEntries || to-w.plan.keepEntries <= m.compacted {
			return
		}
		m.compacted = to - w.plan.keepEntries
		m.checkKept(m.compacted)
		m.node.disk.put(job{member: m, compact: m.compacted})
	})
}
