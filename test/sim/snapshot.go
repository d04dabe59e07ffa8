package sim

import (
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/manifest"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

var errRemovedByOrder = fmt.Errorf("%w: removed by order", pinetree.ErrStopped)

// snapshotTimeout is after how long a sender gives a snapshot up.
const snapshotTimeout = 1500 * time.Millisecond

// outbound is a snapshot on its way to another node.
type outbound struct {
	id    uint64
	index pinetree.RaftIndex
	since time.Duration
}

// checkKept makes sure that a leader keeps the log after a snapshot that is on
// its way: without it, what arrives is of no use.
func (m *member) checkKept(to pinetree.RaftIndex) {
	w := m.node.w
	for id, sent := range m.onTheWay {
		if m.role.Leads && m.members.Has(id) && to > sent.index && w.now-sent.since < w.plan.options.SnapshotHold*9/10 {
			w.fail("%s: group %d: the log is compacted up to %d while a snapshot at %d is on its way to node %d", m.node.name, m.group, to, sent.index, id)
		}
	}
}

// ship sends a snapshot, as package host does beside the replica, and reports
// its end once.
func (m *member) ship(o group.SnapshotOrder) {
	w, reported := m.node.w, false
	w.mark(SnapshotOrdered)
	m.onTheWay[o.To] = outbound{o.ID, pinetree.RaftIndex(o.Message.GetSnapshot().GetMetadata().GetIndex()), w.now}
	report := func(err error) {
		if reported || err != nil && w.cfg.Mutant == ReportLost {
			return
		}
		reported = true
		if err != nil {
			w.mark(SnapshotFailed)
		}
		if m.onTheWay[o.To].id == o.ID {
			delete(m.onTheWay, o.To)
		}
		m.post(func(r *group.Replica) { r.ReportSnapshot(o, err == nil) })
	}
	m.node.after(snapshotTimeout, func() { report(fmt.Errorf("no answer within %v", snapshotTimeout)) })
	m.node.after(w.span(between{0, 20 * time.Millisecond}), func() {
		if err := m.sendState(o, report); err != nil {
			report(err)
		}
	})
}

// sendState reads the engine and puts the state on its way.
func (m *member) sendState(o group.SnapshotOrder, report func(error)) error {
	w, n := m.node.w, m.node
	snapshot, err := n.engines.Snapshot(m.group)
	if err != nil {
		return err
	}
	defer snapshot.Close()
	message, err := manifest.Rebase(o.Message, m.forgetful(snapshot.Position()))
	if err != nil {
		return err
	}
	var chunks [][]byte
	err = snapshot.Chunks(func(chunk []byte) error {
		chunks = append(chunks, slices.Clone(chunk))
		return nil
	})
	if err != nil {
		return err
	}
	encoded := wirepb.AppendGroupMessage(nil, wirepb.GroupMessage{Group: m.group, Message: message})
	to := w.nodes[o.To-1]
	there := delivery{lane: lane{n.address, to.address, "snapshot"}}
	back := delivery{lane: lane{to.address, n.address, "snapshot"}}
	n.after(w.span(between{time.Millisecond, 250 * time.Millisecond}), func() { // the stream takes its time
		w.net.send(there, func() {
			to.after(0, func() {
				to.take(encoded, chunks, func(err error) {
					w.net.send(back, func() { n.after(0, func() { report(err) }) })
				})
			})
		})
	})
	return nil
}

// take takes a snapshot in.
func (n *node) take(encoded []byte, chunks [][]byte, answer func(error)) {
	err := wirepb.DecodeGroupMessages(encoded, func(g wirepb.GroupMessage) error {
		m := n.member(g.Group)
		if m == nil {
			return fmt.Errorf("%w: group %d", pinetree.ErrUnknownGroup, g.Group)
		}
		return m.takeState(g.Message, chunks, answer)
	})
	if err != nil {
		answer(err)
	}
}

func (m *member) takeState(message *raftpb.Message, chunks [][]byte, answer func(error)) error {
	n, w := m.node, m.node.w
	var unwelcome error
	m.post(func(r *group.Replica) { unwelcome = r.WelcomeSnapshot(message) })
	if unwelcome != nil {
		return unwelcome
	}
	at, err := manifest.Position(message)
	if err != nil {
		return err
	}
	restore, err := n.engines.Restore(m.group, at)
	if err != nil {
		return err
	}
	for _, chunk := range chunks {
		if err := restore.Write(chunk); err != nil {
			w.fail("%s: group %d: a chunk of a snapshot: %w", n.name, m.group, err)
			return err
		}
	}
	n.after(w.span(between{0, 10 * time.Millisecond}), func() {
		if n.member(m.group) != m {
			return
		}
		m.arrived = restore
		m.post(func(r *group.Replica) {
			r.TakeSnapshot(message, func(err error) {
				if m.arrived == restore && m.installing == nil {
					m.arrived = nil
					_ = restore.Close() // it only throws away what was written
				}
				answer(err)
			})
		})
	})
	return nil
}

// install is a snapshot that raft wants: the engine takes it over when all that
// was committed before is replayed, then the log begins anew after it.
type install struct {
	save  group.Save
	later []group.Save
}

// save gives a write to the disk, in raft's order.
func (m *member) save(s group.Save) {
	switch {
	case m.installing != nil:
		m.installing.later = append(m.installing.later, s)
	case s.Install != nil:
		m.installing = &install{save: s}
		if m.node.w.cfg.Mutant == SavedBeforeInstall {
			m.post(func(r *group.Replica) { r.Saved(s) })
		}
		m.apply()
	default:
		m.node.disk.put(job{member: m, save: s})
	}
}

// takeOver has the engine take over the state that raft wants. At each step the
// node may crash.
func (m *member) takeOver() {
	if m.installing == nil || m.arrived == nil {
		return
	}
	w, restore := m.node.w, m.arrived
	m.arrived = nil
	if m.crashInstalling() {
		return
	}
	if w.cfg.Mutant == LogBeforeEngine {
		m.restart()
		m.node.after(20*time.Millisecond, func() { m.commit(restore.Commit()) })
		return
	}
	if !m.commit(restore.Commit()) || m.crashInstalling() {
		return
	}
	m.restart()
	m.crashInstalling()
}

// commit is the end of the engine's part.
func (m *member) commit(err error) bool {
	w := m.node.w
	if err != nil {
		w.fail("%s: group %d: restore: %w", m.node.name, m.group, err)
		return false
	}
	w.mark(SnapshotInstalled)
	m.checkTrimmed(m.engine.Position())
	m.applied = m.engine.Position()
	w.note(m.node.name, "holds a snapshot, group, index", uint64(m.group), uint64(m.applied.Index))
	w.learnMembers(m.group, m.applied)
	waiting := m.waiters
	m.waiters = nil
	for _, q := range waiting {
		m.wait(q)
	}
	return true
}

// restart is the log's part, and then what waited behind it.
func (m *member) restart() {
	in := m.installing
	m.installing = nil
	if m.node.w.cfg.Mutant == RestartOneOff {
		point := *in.save.Update.Restart
		point.Index++
		in.save.Update.Restart = &point
	}
	m.compacted = max(m.compacted, in.save.Update.Restart.Index)
	m.node.disk.put(job{member: m, save: in.save})
	for _, s := range in.later {
		m.save(s)
	}
}

// crashInstalling crashes the node at times.
func (m *member) crashInstalling() bool {
	n, w := m.node, m.node.w
	if w.calm || !w.chance(w.plan.installCrash) {
		return false
	}
	w.mark(CrashInstalling)
	// Not from within the events of the node that goes down.
	n.after(w.span(between{0, 5 * time.Millisecond}), func() { w.crash(n) })
	return w.chance(0.5)
}

// finishRestore completes what a crash between engine and log left undone.
func (n *node) finishRestore(g pinetree.GroupID) {
	state, err := n.engines.Open(g)
	if err != nil {
		n.w.fail("%s: %w", n.name, err)
		return
	}
	update, err := manifest.FinishRestore(g, n.disk.log.View(g), state.Position())
	if err != nil {
		n.w.fail("%s: %w", n.name, err)
		return
	}
	if update != nil {
		n.w.mark(RestoreFinished)
		n.disk.create(*update)
	}
}

// gone tells whether a job's replica was removed.
func (j job) gone() bool { return j.member.node.member(j.member.group) != j.member }
