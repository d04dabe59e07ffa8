package host

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/crew"
	"github.com/pinetree-db/pinetree/logservice/fanout"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/lag"
	"github.com/pinetree-db/pinetree/logservice/rawnode"
	"github.com/pinetree-db/pinetree/logservice/space"
	"github.com/pinetree-db/pinetree/proto/wirepb"
	"github.com/pinetree-db/pinetree/raftlog"
)

// Config is what a Host is made of. The stores stay the caller's to close,
// after the host.
type Config struct {
	Node    pinetree.NodeID
	Log     raftlog.Store
	Engines engine.Store
	// Send gives messages to the transport. It must not block and may drop.
	Send func(to pinetree.NodeID, messages []wirepb.GroupMessage)
	// SendSnapshot sends a snapshot to another node, whose TakeSnapshot takes it
	// in: the message and the chunks of the state. It returns nil only when the
	// receiver has it, and soon after ctx ends. Without it no snapshots are sent.
	SendSnapshot func(ctx context.Context, to pinetree.NodeID, m wirepb.GroupMessage, chunks func(fn func([]byte) error) error) error
	// Clock reads CLOCK_BOOTTIME.
	Clock   func() lease.Instant
	Options Options
	Logger  *slog.Logger
	// Changed, when not nil, is called when a replica's role, readiness or
	// release changed, so that the manager hears of it at once. It must not
	// block.
	Changed func()
}

// Host runs all replicas of one node.
type Host struct {
	cfg         Config
	incarnation uint64
	workers     []*worker
	writer      *logWriter
	appliers    *appliers
	offered     *semaphore.Weighted // bytes of batches that wait for workers
	space       *space.Disk
	lag         lag.Node
	sends       *sends
	proofs      *crew.Crew // questions to quorums beside reads, at most one for each group
	tails       *fanout.Hub

	mu      sync.RWMutex
	groups  map[pinetree.GroupID]*Group
	volumes map[pinetree.VolumeID]*Group
	deleted []pinetree.GroupID // by order since this process began, the last ones
	closed  bool
}

// NewHost opens every replica that the engines know and starts to run them. A
// replica whose log and engine do not fit together stays stopped and says why
// in its status; the others run.
func NewHost(cfg Config) (*Host, error) {
	var seed [8]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, err
	}
	h := &Host{
		cfg: cfg, incarnation: binary.LittleEndian.Uint64(seed[:]),
		groups: map[pinetree.GroupID]*Group{}, volumes: map[pinetree.VolumeID]*Group{},
		space: space.New(), offered: semaphore.NewWeighted(cfg.Options.MaxOfferedBytes),
	}
	ids, err := cfg.Engines.Groups()
	if err != nil {
		return nil, err
	}
	h.space.Look(cfg.Log, cfg.Logger)
	h.sends, h.proofs, h.tails = newSends(h), crew.New(), fanout.NewHub(cfg.Options.Tails)
	h.writer = startLogWriter(h)
	h.appliers = startAppliers(h, cfg.Options.Appliers)
	for range max(1, cfg.Options.Workers) {
		h.workers = append(h.workers, startWorker(h))
	}
	for _, id := range ids {
		err := h.finishRestore(id)
		if err == nil {
			err = h.open(id)
		}
		if errors.Is(err, pinetree.ErrCorrupt) { // the others run
			h.refuse(h.handle(id), err)
			err = nil
		}
		if err != nil {
			return nil, errors.Join(err, h.Close())
		}
	}
	return h, nil
}

// open starts the replica of a group that the engines know.
func (h *Host) open(id pinetree.GroupID) error {
	state, err := h.cfg.Engines.Open(id)
	if err != nil {
		return fmt.Errorf("group %d: %w", id, err)
	}
	g := h.handle(id)
	g.engine = state
	g.progress.Reach(state.Position())
	g.view.Store(&group.View{})
	g.worker = h.workers[int(id)%len(h.workers)]
	g.replica, err = group.NewReplica(group.ReplicaConfig{
		Group: id, Node: h.cfg.Node, Log: h.cfg.Log.View(id), Applied: g.progress.At(),
		Options: h.cfg.Options.Replica, Incarnation: h.incarnation,
		Logger:  h.cfg.Logger.With("group", id, "node", h.cfg.Node),
		Publish: g.publish, Buffer: &g.worker.buffer, Lag: &h.lag, Groups: &h.writer.users,
	})
	if err != nil {
		h.refuse(g, err)
	} else {
		h.keep(g)
	}
	h.learnVolumes(g, g.progress.At())
	return nil
}

func (h *Host) handle(id pinetree.GroupID) *Group {
	g := &Group{id: id, host: h}
	g.progress.tails = h.tails.Replica()
	return g
}

// refuse keeps a group whose replica cannot run, for those who ask why. Without
// an engine it carries no volume.
func (h *Host) refuse(g *Group, why error) {
	h.cfg.Logger.Error("replica refuses to start", "group", g.id, "err", why)
	g.replica, g.refused = nil, fmt.Errorf("%w: %w", pinetree.ErrStopped, why)
	g.view.Store(&group.View{Stopped: g.refused})
	h.keep(g)
}

func (h *Host) keep(g *Group) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.groups[g.id] = g
}

// learnVolumes notes which volumes a group carries, and which no more.
func (h *Host) learnVolumes(g *Group, at pinetree.Position) {
	h.mu.RLock()
	known := g.carries == len(at.Volumes)
	for id := range at.Volumes {
		known = known && h.volumes[id] == g
	}
	h.mu.RUnlock()
	if known {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.volumes, func(id pinetree.VolumeID, owner *Group) bool {
		_, there := at.Volumes[id]
		return owner == g && !there
	})
	for id := range at.Volumes {
		h.volumes[id] = g
	}
	g.carries = len(at.Volumes)
}

// Create makes the empty replica of a new group, durable on return. A group
// that is there is left as it is.
func (h *Host) Create(ctx context.Context, id pinetree.GroupID, voters []pinetree.NodeID) error {
	if id == 0 || len(voters) == 0 || !slices.Contains(voters, h.cfg.Node) {
		return fmt.Errorf("%w: group %d with voters %v cannot be created on node %d", pinetree.ErrBadBatch, id, voters, h.cfg.Node)
	}
	if _, err := h.Group(id); err == nil {
		return nil
	}
	start, point, err := rawnode.Bootstrap(voters)
	if err != nil {
		return err
	}
	// The log first: a replica is there when its engine is.
	return h.writer.do(ctx, func(store raftlog.Store) error {
		if _, err := h.Group(id); err == nil {
			return nil
		}
		if err := cmp.Or(h.refuseDeleted(id), h.refuseOrphan(store, id)); err != nil {
			return err
		}
		err := store.Save([]raftlog.Update{{
			Group: id, Restart: &point, MustSync: true,
			HardState: &raftpb.HardState{Term: proto.Uint64(uint64(point.Term)), Vote: proto.Uint64(0), Commit: proto.Uint64(uint64(point.Index))},
		}})
		if err != nil {
			return err
		}
		if err := h.cfg.Engines.Create(id, start); err != nil {
			return err
		}
		return h.open(id)
	})
}

// Group returns the replica of a group, or pinetree.ErrUnknownGroup.
func (h *Host) Group(id pinetree.GroupID) (*Group, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if g := h.groups[id]; g != nil {
		return g, nil
	}
	return nil, fmt.Errorf("%w: node %d has no replica of group %d", pinetree.ErrUnknownGroup, h.cfg.Node, id)
}

// Volume returns the replica of the group that carries a volume, or
// pinetree.ErrUnknownVolume.
func (h *Host) Volume(id pinetree.VolumeID) (*Group, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if g := h.volumes[id]; g != nil {
		return g, nil
	}
	return nil, fmt.Errorf("%w: node %d has no replica of volume %d", pinetree.ErrUnknownVolume, h.cfg.Node, id)
}

// Groups lists the replicas by group.
func (h *Host) Groups() []*Group {
	h.mu.RLock()
	defer h.mu.RUnlock()
	list := make([]*Group, 0, len(h.groups))
	for _, id := range slices.Sorted(maps.Keys(h.groups)) {
		list = append(list, h.groups[id])
	}
	return list
}

// Deliver gives messages that came from peers to their groups. It never
// blocks; messages of unknown groups and those beyond the inbox's limit are
// dropped, which raft repairs.
func (h *Host) Deliver(messages []wirepb.GroupMessage) {
	for _, m := range messages {
		g, err := h.Group(m.Group)
		if err != nil || g.refused != nil {
			continue
		}
		message, floor := m.Message, m.Floor
		_ = g.worker.put(event{group: g, do: func(r *group.Replica) {
			r.LearnFloor(floor)
			r.Receive(message)
		}}, consensus)
	}
	// All of them in one round of each worker.
	for _, w := range h.workers {
		w.serve(false)
	}
}

// Unreachable tells groups that their messages to a peer are being lost.
func (h *Host) Unreachable(peer pinetree.NodeID, groups []pinetree.GroupID) {
	for _, id := range groups {
		if g, err := h.Group(id); err == nil {
			_ = g.post(consensus, func(r *group.Replica) { r.Unreachable(peer) })
		}
	}
}

// DiskHealth is what the log writer knows of the disk.
type DiskHealth struct {
	FsyncAge time.Duration // since the last fsync completed
	Pending  time.Duration // for how long the one under way runs; zero when none
	Usual    time.Duration // of a synced write of late; zero when there was none
}

// Disk tells how the raft log's disk answers.
func (h *Host) Disk() DiskHealth { return h.writer.health() }

// Space is what is left on the disk of the raft log, as of some moments ago;
// false when the store does not know.
func (h *Host) Space() (raftlog.Space, bool) { return h.space.Last() }

// Lag is what this node's replicas have yet to replay.
func (h *Host) Lag() *lag.Node { return &h.lag }

// Close stops every replica, waits for the goroutines and answers all who wait
// with pinetree.ErrStopped. A save that hangs on the disk is not waited for
// longer than a second.
func (h *Host) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	h.mu.Unlock()
	for _, g := range h.Groups() {
		g.progress.Stop()
	}
	h.tails.Close()
	h.proofs.Close()
	h.sends.Close()
	for _, w := range h.workers {
		w.close()
	}
	h.appliers.close()
	return errors.Join(h.abandonArrivals(), h.writer.close())
}
