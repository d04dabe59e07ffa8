package group

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/lag"
	"github.com/pinetree-db/pinetree/logservice/news"
	"github.com/pinetree-db/pinetree/logservice/pace"
	"github.com/pinetree-db/pinetree/logservice/rawnode"
	"github.com/pinetree-db/pinetree/logservice/replay"
	"github.com/pinetree-db/pinetree/raftlog"
)

// Effects are what a turn wants done. Each list is in order, also with the
// lists of earlier turns.
type Effects struct {
	// Send goes to peers now, beside the local write.
	Send []*raftpb.Message
	// Save goes to the raft log; when it is durable, Saved is called.
	Save []Save
	// Commit goes to the engine; when it is replayed, Applied is called.
	Commit []Commit
	// Snapshots are to be sent to members; the end of each is reported.
	Snapshots []SnapshotOrder
}

// Awaited tells whether the replica waits to hear of the write.
func (s Save) Awaited() bool { return len(s.responses) > 0 || s.Update.MustSync }

// Empty tells that there is nothing to do.
func (e Effects) Empty() bool {
	return len(e.Send) == 0 && len(e.Save) == 0 && len(e.Commit) == 0 && len(e.Snapshots) == 0
}

// Commit is a run of committed entries for the engine, in order.
type Commit struct {
	replay.Run
	responses []*raftpb.Message
}

// Replay decides what runs of committed entries change; see replay.Decide.
func Replay(from replay.State, commits []Commit) (replay.Decision, error) {
	runs := make([]replay.Run, len(commits))
	for i, c := range commits {
		runs[i] = c.Run
	}
	return replay.Decide(from, runs)
}

// Save is a write to the raft log and what is to be said after it.
type Save struct {
	Update raftlog.Update
	// Install, when not nil, is the position of a snapshot that the engine must
	// hold durably before this is written. Later saves and commits of the group
	// come after both.
	Install   *pinetree.Position
	responses []*raftpb.Message
}

// At sets the time of the events that follow. It never goes back.
func (r *Replica) At(now lease.Instant) { r.now = max(r.now, now) }

// Stop ends the replica for good: a disk error, a checksum, a broken order, or
// pinetree.ErrStopped when its node ends. All who wait hear why.
func (r *Replica) Stop(why error) {
	if r.stopped != nil {
		return
	}
	if errors.Is(why, pinetree.ErrStopped) {
		r.stopped = why
	} else {
		r.stopped = fmt.Errorf("%w: %w", pinetree.ErrStopped, why)
		r.log.Error("replica stops", "err", why)
	}
	r.lag.Close()
	r.loseLead(r.stopped)
	r.reads.fail(r.stopped)
	r.appoint.end(r.stopped)
	r.abandonChange(r.stopped)
	r.retryOpens()
	if in := r.incoming; in != nil {
		r.incoming = nil
		in.done(r.stopped)
	}
	r.publish()
}

// Turn gives raft all that happened since the last one and collects what is to
// be done about it.
func (r *Replica) Turn() Effects {
	if r.stopped != nil {
		return Effects{}
	}
	var out Effects
	for _, m := range r.lag.Release() {
		r.hear(m)
	}
	// What was received since may have deposed it, what was applied made it ready.
	r.basic = r.rn.BasicStatus()
	r.followRole()
	r.campaignIfDue()
	r.watchTransfer()
	r.propose()
	r.leaveJoint()
	r.confirmChange()
	r.startReads()
	r.wake()
	if due := r.lead.news.Due(); due != 0 && (r.now >= due || r.busy()) {
		r.outbox = append(r.outbox, r.lead.news.Take()...)
	}
	for r.rn.HasReady() {
		r.takeReady(r.rn.Ready(), &out)
	}
	if hard := r.commits.Due(r.now); hard != nil {
		out.Save = append(out.Save, Save{Update: raftlog.Update{Group: r.cfg.Group, HardState: hard}})
	}
	r.ignored()
	r.basic = r.rn.BasicStatus()
	r.lag.Commit(pinetree.RaftIndex(r.basic.HardState.GetCommit()))
	r.followRole()
	r.publish()
	r.settle()
	r.tellWriters()
	r.finishChange()
	r.retireIfRemoved()
	if len(r.outbox) > 0 {
		out.Send = append(r.outbox, out.Send...)
		r.outbox = nil
	}
	return out
}

// busy tells that the leadership or the members are being changed, which followers
// are to hear of at once.
func (r *Replica) busy() bool {
	return r.moving != nil || r.changing != nil || r.conf.members.Joint()
}

// takeReady sorts raft's wishes by who fulfils them.
func (r *Replica) takeReady(rd raft.Ready, out *Effects) {
	if rd.SoftState != nil {
		r.basic = r.rn.BasicStatus()
		r.followRole()
	}
	r.finishReads(rd.ReadStates)
	for _, m := range rd.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			r.place(m.Entries)
			r.placeChange(m.Entries)
			// The answers of a write may overtake none that is under way.
			if news.OnlyCommit(m, rd.MustSync) && (r.saving == 0 || len(m.Responses) == 0) {
				r.commits.Hold(m, r.now)
				r.respond(m.Responses)
				continue
			}
			out.Save = append(out.Save, r.save(m, rd.MustSync))
		case raft.LocalApplyThread:
			for _, part := range rawnode.Cut(m) {
				out.Commit = append(out.Commit, r.commit(part))
			}
		default:
			if m.GetType() == raftpb.MsgSnap {
				out.Snapshots = append(out.Snapshots, r.order(m))
				continue
			}
			if r.busy() || !r.lead.news.Hold(m, r.now, r.opt.CommitDelay) {
				out.Send = append(out.Send, m)
			}
		}
	}
}

func (r *Replica) save(m *raftpb.Message, mustSync bool) Save {
	s := Save{
		Update:    raftlog.Update{Group: r.cfg.Group, Entries: m.Entries, MustSync: mustSync},
		responses: m.Responses,
	}
	s.Update.HardState = r.commits.Join(m)
	if m.Snapshot != nil {
		r.install(&s, m.Snapshot)
	}
	r.size.Append(m.Entries, r.opt.MaxLogBytes)
	r.lag.Append(m.Entries)
	if s.Awaited() {
		r.saving++
		r.unsaved += lag.Size(m.Entries)
	}
	return s
}

// commit notes the memberships that conf changes lead to. They take effect in
// raft now, when they are committed, and in the engine with their entry.
func (r *Replica) commit(m *raftpb.Message) Commit {
	c := Commit{Run: replay.Run{Entries: m.Entries}, responses: m.Responses}
	if n := len(m.Entries); n > 0 {
		r.replaying.Hand(pace.Commit{Index: pinetree.RaftIndex(m.Entries[n-1].GetIndex()), At: r.position.Index}, r.now)
	}
	for _, e := range m.Entries {
		change, err := rawnode.Change(e)
		if change == nil || err != nil {
			continue // Replay meets the same bytes and stops the replica
		}
		conf := r.applyChange(change, e)
		if c.Memberships == nil {
			c.Memberships = map[uint64]*raftpb.ConfState{}
		}
		c.Memberships[e.GetIndex()] = conf
	}
	return c
}

// Saved is called when a Save, and every one before it, is as durable as it
// asked to be.
func (r *Replica) Saved(s Save) {
	if s.Install != nil && r.stopped == nil {
		r.installed(*s.Install)
	}
	if s.Awaited() {
		r.saving--
		r.unsaved -= lag.Size(s.Update.Entries)
	}
	if n := len(s.Update.Entries); n > 0 && pinetree.RaftTerm(s.Update.Entries[n-1].GetTerm()) == r.lead.term {
		r.lead.saved = pinetree.RaftIndex(s.Update.Entries[n-1].GetIndex())
	}
	r.respond(s.responses)
}

// Applied is called when the engine holds a commit, and every one before it.
func (r *Replica) Applied(c Commit, at pinetree.Position) {
	before := r.position
	r.position = at
	r.replaying.Reach(at.Index, r.now)
	r.lag.Reach(at.Index)
	r.respond(c.responses)
	if !r.lead.ready {
		return
	}
	r.closeDropped(before)
	for id, next := range at.Volumes {
		v, old := r.volumes[id], before.Volumes[id]
		switch {
		case v == nil:
			r.openQueue(id, next)
		case old.Base != next.Base && old.LSN == 0:
			// A fence set where the log of the empty volume begins.
			opened := v.queue.Term()
			v.queue.Reset(next)
			v.queue.Open(opened)
			v.committed = next.LSN
		}
		if old.LSN != next.LSN || old.Term() != next.Term() {
			r.touch(r.volumes[id])
		}
	}
}

// respond delivers the answers that waited for a local write.
func (r *Replica) respond(messages []*raftpb.Message) {
	if r.stopped != nil {
		return
	}
	for _, m := range messages {
		if m.GetTo() == uint64(r.cfg.Node) {
			// Raft refuses only messages from peers that it does not know.
			if err := r.rn.Step(m); err != nil {
				r.log.Warn("raft refused its own answer", "type", m.GetType(), "err", err)
			}
			continue
		}
		r.outbox = append(r.outbox, m)
	}
}

// Receive takes a message of a peer.
func (r *Replica) Receive(m *raftpb.Message) {
	if r.stopped != nil || m.GetTo() != uint64(r.cfg.Node) || raft.IsLocalMsg(m.GetType()) {
		return
	}
	if r.blank() {
		if m = r.admit(m); m == nil {
			return
		}
	}
	// A late answer to a heartbeat is nobody's wish.
	r.lead.rest.stirred = r.lead.rest.stirred || m.GetType() != raftpb.MsgHeartbeatResp
	switch m.GetType() {
	case raftpb.MsgSnap:
		return // its state comes beside it, see TakeSnapshot
	case raftpb.MsgReadIndex:
		// A leader that is not activated, or has not committed in its own term,
		// answers no quorum read, a follower's neither.
		if !r.mayAnswer() {
			return
		}
	case raftpb.MsgHeartbeatResp, raftpb.MsgAppResp:
		from := pinetree.NodeID(m.GetFrom())
		if r.lead.term != 0 && pinetree.RaftTerm(m.GetTerm()) == r.lead.term && (r.conf.members.Learns(from) || !rawnode.FromBlank(m)) {
			r.lead.contact[from] = r.now
		}
		if r.answersUs(m) || r.tellsNothing(m) || r.isEarly(m) {
			return
		}
		m = rawnode.Unmarked(m)
	case raftpb.MsgApp:
		if r.lag.Hold(m) {
			return
		}
	case raftpb.MsgTimeoutNow:
		r.log.Info("told to take over the leadership", "from", m.GetFrom(), "raft_term", m.GetTerm())
	case raftpb.MsgProp, raftpb.MsgTransferLeader:
		// Nobody proposes or hands over through another node: writers, the manager
		// and the release of the lease would not know of it.
		return
	}
	r.hear(m)
}

// hear gives raft a message of a peer, but for a heartbeat of a leader that takes
// this replica for one with more log: its disk was lost, and a snapshot that was on
// its way since before is all that it has. Raft would panic. This leader cannot
// bring it up to date, another one can.
func (r *Replica) hear(m *raftpb.Message) {
	if last, err := r.cfg.Log.LastIndex(); m.GetType() == raftpb.MsgHeartbeat && (err != nil || m.GetCommit() > last) {
		_ = r.lose(fmt.Sprintf("node %d, the leader, knows it to have the log up to index %d", m.GetFrom(), m.GetCommit()))
		return
	}
	if err := r.rn.Step(m); err != nil && err != raft.ErrStepPeerNotFound {
		r.log.Debug("raft refused a message", "type", m.GetType(), "from", m.GetFrom(), "err", err)
	}
}

// tellsNothing tells that a message answers one of an older raft term, from when
// this replica led before: it is an accepted append at index zero, where no log
// of ours ends. In the term in which this replica leads again, raft would take
// it for the follower's progress and want to send a snapshot for ever.
func (r *Replica) tellsNothing(m *raftpb.Message) bool {
	return m.GetType() == raftpb.MsgAppResp && m.GetIndex() == 0 && !m.GetReject() &&
		m.GetTerm() <= r.rn.BasicStatus().HardState.GetTerm()
}

// isEarly keeps a follower's accepted append from a leader that is not activated.
// With it raft could commit, and a follower's quorum read that was asked of the
// leader before could show what that leader, under its lease, does not know of.
func (r *Replica) isEarly(m *raftpb.Message) bool {
	if r.lead.term == 0 || pinetree.RaftTerm(m.GetTerm()) != r.lead.term || r.holder.Activated(r.lead.term) ||
		m.GetType() != raftpb.MsgAppResp || m.GetReject() {
		return false
	}
	if known := r.lead.early[pinetree.NodeID(m.GetFrom())]; known.GetIndex() < m.GetIndex() {
		r.lead.early[pinetree.NodeID(m.GetFrom())] = m
	}
	return true
}

// Unreachable tells that messages to a peer are being lost.
func (r *Replica) Unreachable(peer pinetree.NodeID) {
	if r.stopped == nil && r.lead.term != 0 {
		r.rn.ReportUnreachable(uint64(peer))
	}
}
