package sim

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/membership"
	"github.com/pinetree-db/pinetree/proto/wirepb"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/test/sim/history"
)

// member is a replica in one life of its node, and what drives it: what the
// host package does with goroutines is done here with events.
type member struct {
	quiet    bool // as of the last heartbeat
	node     *node
	group    pinetree.GroupID
	replica  *group.Replica
	engine   engine.Engine
	view     group.View // published
	turnDue  bool
	watchDue bool          // the watermarks are to be checked after the next turn
	alarm    lease.Instant // a turn is planned at this time

	// The applier's part.
	applied   pinetree.Position // told to those who wait
	waiters   []waiter
	commits   []group.Commit
	applying  bool
	flushDue  bool
	compacted pinetree.RaftIndex

	granted granted // what mutants go by
	aborts  int     // of transfers
	opens   int     // of compute terms, which may let the queue drop what it holds
	streams []*serverStream
	role    group.Role

	// members are those of the newest change that is committed, before those
	// that it changed.
	members, before membership.Members
	arrived         engine.Restore // wanted by raft, or given to it
	installing      *install       // wanted by raft
	onTheWay        map[pinetree.NodeID]outbound
}

// post tells the replica of something, and gives it a turn a little later.
func (m *member) post(do func(*group.Replica)) {
	m.replica.At(m.node.local())
	do(m.replica)
	m.touch()
}

func (m *member) touch() {
	if m.turnDue {
		return
	}
	m.turnDue = true
	m.node.after(m.node.w.span(m.node.w.plan.turn), m.turn)
}

// turn carries out what the replica wants.
func (m *member) turn() {
	w := m.node.w
	if m.node.member(m.group) != m {
		return // removed
	}
	m.turnDue = false
	m.replica.At(m.node.local())
	effects := m.replica.Turn()
	for _, message := range effects.Send {
		m.send(message)
	}
	m.noteMembers()
	for _, s := range effects.Save {
		m.save(s)
	}
	for _, o := range effects.Snapshots {
		m.ship(o)
	}
	m.commits = append(m.commits, effects.Commit...)
	m.apply()
	m.noteRole()
	if m.watchDue {
		m.watchDue = false
		m.watch()
	}
	if due := m.replica.Deadline(); due != 0 && (m.alarm == 0 || due < m.alarm || m.alarm <= m.node.local()) {
		m.alarm = due
		m.node.after(m.node.clock.until(due, w.now), m.touch)
	}
	if stopped := m.view.Stopped; stopped != nil && !m.node.disk.failed && !m.mayStop(stopped) {
		w.fail("%s: the replica of group %d stopped: %w", m.node.name, m.group, stopped)
	}
}

// noteRole follows what the replica has become.
func (m *member) noteRole() {
	now := m.replica.Role()
	if now == m.role {
		return
	}
	was := m.role
	m.role = now
	w := m.node.w
	w.note(m.node.name, "group, leads, ready, activated, raft term:", uint64(m.group), bit(now.Leads), bit(now.Ready), bit(now.Activated), uint64(now.Term))
	if was.Term != now.Term {
		clear(m.onTheWay) // ordered by a leadership that is over
	}
	if now.Leads {
		w.hist.Leads(m.group, now.Term, m.node.id)
	}
	if was.Leads && was.Ready && !now.Leads {
		w.mark(LeaderLost)
	}
	if now.Leads && !now.Activated && m.activatesItself() {
		m.activateItself()
	}
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// send encodes a message, as the transport does: what arrives shares nothing.
func (m *member) send(message *raftpb.Message) {
	w := m.node.w
	to := w.nodes[message.GetTo()-1]
	name := "bulk"
	switch message.GetType() {
	case raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgSnap:
	default:
		name = "fast"
	}
	takeOver := message.GetType() == raftpb.MsgTimeoutNow
	if takeOver {
		w.note(m.node.name, "tells to take over, group, to", uint64(m.group), message.GetTo())
	}
	aborts := m.aborts
	encoded := wirepb.AppendGroupMessage(nil, wirepb.GroupMessage{Group: m.group, Message: message, Floor: m.replica.Floor()})
	d := delivery{lane: lane{m.node.address, to.address, name}, ordered: !w.plan.unordered, mayRepeat: true}
	w.net.send(d, func() {
		to.after(0, func() {
			if takeOver && m.aborts > aborts {
				w.mark(LateTimeoutNow)
			}
			to.deliver(encoded)
		})
	})
}

// deliver gives an arrived message to its group.
func (n *node) deliver(encoded []byte) {
	err := wirepb.DecodeGroupMessages(encoded, func(g wirepb.GroupMessage) error {
		if m := n.member(g.Group); m != nil && m.answersNobody() && g.Message.GetType() == raftpb.MsgReadIndex {
			return nil
		}
		n.post(g.Group, func(r *group.Replica) {
			r.LearnFloor(g.Floor)
			r.Receive(g.Message)
		})
		return nil
	})
	if err != nil {
		n.w.fail("%s: message: %w", n.name, err)
	}
}

// publish shows a View to the readers of this node and to the checkers.
func (m *member) publish(v group.View) {
	w := m.node.w
	if w.cfg.Mutant == LatePublish {
		w.after(5*time.Millisecond, func() { m.view = v })
	} else {
		m.view = v
	}
	until := time.Duration(0)
	if v.Leads && v.Lease > m.node.local() {
		until = w.now + m.node.clock.until(v.Lease, w.now)
		w.mark(LeaseHeld)
	}
	if !w.cfg.ReadsOnly {
		w.hist.Holds(m.group, history.Lease{Node: m.node.id, Term: v.Term, Until: until}, w.now)
	}
}

// gone is called when the node crashes: its memory is no more.
func (m *member) gone() {
	m.node.w.hist.Holds(m.group, history.Lease{Node: m.node.id}, m.node.w.now)
	for _, s := range m.streams {
		s.broken()
	}
}

// watch checks what the replica says of itself.
func (m *member) watch() {
	w := m.node.w
	for _, v := range w.volumes {
		if v.group != m.group {
			continue
		}
		flushed := m.engine.Flushed().Volumes[v.id].LSN
		marks, err := m.replica.Watermarks(v.id)
		if err != nil {
			continue // not created here yet
		}
		if m.replica.View().Applied < m.engine.Position().Restored {
			flushed = min(flushed, marks.Applied) // the replica hears of a snapshot later than the engine
		}
		marks.Flushed = max(marks.Truncated, flushed)
		life := history.Life{Start: m.node.life, Leads: m.role.Term, Opens: m.opens}
		w.hist.Watermarks(m.node.id, v.id, life, marks)
	}
}

// checkDurable makes sure that what this leader acknowledges is on the disks of
// a majority.
func (m *member) checkDurable() {
	w := m.node.w
	at := m.view.Committed
	term, err := m.node.disk.log.View(m.group).Term(uint64(at))
	if err != nil {
		return // compacted, or not yet saved here: then the term cannot be known
	}
	holds := func(id pinetree.NodeID) bool {
		return w.nodes[id-1].disk.holds(m.group, raftlog.Point{Index: at, Term: pinetree.RaftTerm(term)})
	}
	m.noteMembers()
	if !m.members.Quorum(holds) && !m.before.Quorum(holds) {
		w.fail("%s: group %d: acknowledged up to index %d, which is durable on no majority of the voters %v", m.node.name, m.group, at, m.members.Voters)
	}
}
