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
	"github.com/pinetree-db/pinetree/raftlog"
)

// node is a storage node: a process with a disk and a replica of every group.
type node struct {
	process
	peer
	id      pinetree.NodeID
	disk    *disk
	engines *memengine.Store
	members []*member // of this life; groups count from one
	logger  *slog.Logger
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
	w := n.w
	for id := range w.plan.groups {
		start, point, err := group.Bootstrap(w.nodeIDs())
		if err != nil {
			w.fail("bootstrap: %w", err)
			return
		}
		g := groupNumber(id)
		n.disk.create(raftlog.Update{
			Group: g, Restart: &point, MustSync: true,
			HardState: &raftpb.HardState{Term: proto.Uint64(uint64(point.Term)), Vote: proto.Uint64(0), Commit: proto.Uint64(uint64(point.Index))},
		})
		if err := n.engines.Create(g, start); err != nil {
			w.fail("create: %w", err)
		}
	}
}

func groupNumber(i int) pinetree.GroupID { return pinetree.GroupID(i + 1) }

// boot starts the process from what its disk and engines hold.
func (n *node) boot() {
	n.start()
	n.w.note(n.name, "starts, life", uint64(n.life))
	n.members = nil
	for i := range n.w.plan.groups {
		m, err := n.open(groupNumber(i))
		if err != nil {
			n.w.fail("%s: group %d does not start: %w", n.name, groupNumber(i), err)
			return
		}
		n.members = append(n.members, m)
	}
	n.every(n.w.plan.options.TickInterval, n.tick)
	n.every(n.w.plan.heartbeat, n.heartbeat)
	n.every(n.w.plan.flush, n.askFlush)
}

func (n *node) open(id pinetree.GroupID) (*member, error) {
	state, err := n.engines.Open(id)
	if err != nil {
		return nil, err
	}
	m := &member{node: n, group: id, engine: state, applied: state.Position()}
	log := n.disk.log.View(id)
	if hard, err := log.HardState(); err == nil && hard.GetCommit() < uint64(m.applied.Index) {
		n.w.mark(EngineAhead)
	}
	incarnation := uint64(n.life)
	if n.w.cfg.Mutant == ReusedReadContext {
		incarnation = 0
	}
	m.replica, err = group.NewReplica(group.ReplicaConfig{
		Group: id, Node: n.id, Log: log, Applied: m.applied,
		Options: n.w.plan.options, Incarnation: incarnation,
		Logger:  n.logger,
		Publish: m.publish,
	})
	return m, err
}

// member is the replica of a group on the node.
func (n *node) member(id pinetree.GroupID) *member { return n.members[id-1] }

func (n *node) tick() {
	for _, m := range n.members {
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
	for _, m := range n.members {
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
	for i := range n.w.plan.groups {
		state, err := n.engines.Open(groupNumber(i))
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
	for i := range n.w.plan.groups {
		g := groupNumber(i)
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
