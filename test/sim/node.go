package sim

import (
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/memengine"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/rawnode"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/memlog"
)

// node is a storage node: a process with a disk and a replica of every group.
type node struct {
	process
	peer
	id      pinetree.NodeID
	disk    *disk
	engines *memengine.Store
	members []*member // of this life, by group; nil where it has no replica
	growth  map[pinetree.VolumeID]*growth
	logger  *slog.Logger
	lost    bool // its disk was lost, and with it all that it promised
}

func newNode(w *World, id pinetree.NodeID, c clock) *node {
	n := &node{id: id, engines: memengine.New(memengine.Options{}), logger: slog.New(slog.DiscardHandler)}
	n.process = process{w: w, name: fmt.Sprintf("n%d", id), clock: c}
	n.peer = peer{address: address(id), process: &n.process}
	if w.cfg.Trace != nil {
		n.logger = slog.New(replicaLog{world: w, node: n.name})
	}
	n.disk = newDisk(n)
	return n
}

// create makes the empty replicas of all groups.
func (n *node) create() {
	for i := range n.w.plan.groups {
		n.found(groupNumber(i))
	}
}

// found makes the replica of a group as the group begins.
func (n *node) found(g pinetree.GroupID) {
	start, point, err := rawnode.Bootstrap(n.w.founders())
	if err != nil {
		n.w.fail("bootstrap: %w", err)
		return
	}
	n.disk.create(raftlog.Update{
		Group: g, Restart: &point, MustSync: true,
		HardState: &raftpb.HardState{Term: proto.Uint64(uint64(point.Term)), Vote: proto.Uint64(0), Commit: proto.Uint64(uint64(point.Index))},
	})
	if err := n.engines.Create(g, start); err != nil {
		n.w.fail("create: %w", err)
	}
	n.w.learnMembers(g, start)
}

func groupNumber(i int) pinetree.GroupID { return pinetree.GroupID(i + 1) }

// boot starts the process from what its disk and engines hold.
func (n *node) boot() {
	n.start()
	n.w.note(n.name, "starts, life", uint64(n.life))
	n.members = make([]*member, n.w.plan.groups)
	ids, err := n.engines.Groups()
	for _, id := range ids {
		if err == nil {
			n.finishRestore(id)
			n.members[id-1], err = n.open(id)
		}
		if err != nil {
			n.w.fail("%s: group %d does not start: %w", n.name, id, err)
			return
		}
	}
	n.every(n.w.plan.options.TickInterval, n.tick)
	n.every(n.w.plan.heartbeat, n.heartbeat)
	n.every(n.w.plan.flush, n.askFlush)
	if n.growth = map[pinetree.VolumeID]*growth{}; n.w.plan.trims {
		n.every(trimPace, n.trim)
	}
}

func (n *node) open(id pinetree.GroupID) (*member, error) {
	state, err := n.engines.Open(id)
	if err != nil {
		return nil, err
	}
	m := &member{node: n, group: id, engine: state, applied: state.Position(), onTheWay: map[pinetree.NodeID]outbound{}}
	log := n.disk.log.View(id)
	if hard, err := log.HardState(); err == nil && hard.GetCommit() < uint64(m.applied.Index) {
		n.w.mark(EngineAhead)
	}
	incarnation := uint64(n.life)
	if n.w.cfg.Mutant == ReusedReadContext {
		incarnation = 0
	}
	m.replica, err = group.NewReplica(group.ReplicaConfig{
		Group: id, Node: n.id, Log: log, Applied: m.position(state),
		Options: n.w.plan.options, Incarnation: incarnation,
		Logger:  n.logger,
		Publish: m.publish,
	})
	if err == nil {
		m.noteMembers()
	}
	return m, err
}

func (n *node) tick() {
	for _, m := range n.seats() {
		m.post(func(r *group.Replica) { r.Tick() })
		m.watchDue = true
	}
}

// crash ends the process. On a power cut the disk forgets what was not synced,
// or keeps a part of it; on a kill it has what was written.
func (n *node) crash(power bool) {
	if !n.up {
		return
	}
	w := n.w
	n.kill()
	for _, m := range n.seats() {
		m.gone()
	}
	n.members = nil
	unsynced := n.disk.log.Unsynced()
	keep := unsynced
	if power {
		keep = 0
		if unsynced > 0 && w.chance(0.5) {
			keep = w.rng.IntN(unsynced + 1)
		}
	}
	w.note(n.name, "crashes; unsynced writes, kept", uint64(unsynced), uint64(keep))
	n.disk.crash(keep)
	n.crashEngines(power)
}

// crashEngines takes the engines back to what they flushed, or to what they had
// when the process alone ended and the page cache was lucky.
func (n *node) crashEngines(power bool) {
	ids, err := n.engines.Groups()
	if err != nil {
		n.w.fail("%s: %w", n.name, err)
	}
	for _, id := range ids {
		state, err := n.engines.Open(id)
		if err == nil && !power && n.w.chance(0.5) {
			_, err = state.Flush()
		}
		if err == nil && state.Position().Index > state.Flushed().Index {
			n.w.mark(LostReplay)
		}
		if err != nil {
			n.w.fail("%s: %w", n.name, err)
		}
	}
	n.engines.Crash()
	if n.w.cfg.Mutant == ForgottenVote {
		n.forgetVotes()
	}
}

// forgetVotes is a bug put in on purpose: raft's hard state is not kept, only
// its log.
func (n *node) forgetVotes() {
	ids, _ := n.engines.Groups()
	for _, g := range ids {
		log := n.disk.log.View(g)
		hard, err := log.HardState()
		if err != nil {
			continue
		}
		last, _ := log.LastIndex()
		term, _ := log.Term(last)
		n.disk.check(n.disk.log.Save([]raftlog.Update{{Group: g, MustSync: true, HardState: &raftpb.HardState{
			Term: &term, Vote: proto.Uint64(0), Commit: hard.Commit,
		}}}))
	}
}

// restartIn boots the node again after a while.
func (n *node) restartIn(d time.Duration) {
	n.w.after(d, func() {
		if !n.up {
			n.boot()
		}
	})
}

// wipe leaves the node with an empty disk.
func (n *node) wipe() {
	n.disk.lost = append(n.disk.lost, n.disk.synced)
	n.disk.log, n.disk.synced = memlog.New(), memlog.New()
	n.engines = memengine.New(memengine.Options{})
}

// mistake gives a node whose disk was lost a replica again under its old id.
func (n *node) mistake(g pinetree.GroupID) {
	if n.w.cfg.Mutant == WipedFounder {
		n.found(g)
		return
	}
	if err := n.engines.Create(g, pinetree.Position{}); err != nil {
		n.w.fail("%s: %w", n.name, err)
	}
}
