package group

import (
	"log/slog"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/lag"
	"github.com/pinetree-db/pinetree/logservice/news"
	"github.com/pinetree-db/pinetree/logservice/pace"
	"github.com/pinetree-db/pinetree/logservice/packing"
	"github.com/pinetree-db/pinetree/logservice/rawnode"
	"github.com/pinetree-db/pinetree/logservice/retention"
	"github.com/pinetree-db/pinetree/logservice/sharing"
	"github.com/pinetree-db/pinetree/raftlog"
)

// ReplicaConfig is what a Replica is made of.
type ReplicaConfig struct {
	Group   pinetree.GroupID
	Node    pinetree.NodeID
	Log     raftlog.View
	Applied pinetree.Position // what the engine surely has
	Options Options
	Logger  *slog.Logger
	// Incarnation differs between any two starts of this replica, so that an
	// answer to a read asked before a restart is never taken for a new one.
	Incarnation uint64
	// Lag is what the replicas of the node have yet to replay; nil for one of its
	// own.
	Lag *lag.Node
	// Groups tells whether several groups use the node's log just now; may be nil.
	Groups *sharing.Users[pinetree.GroupID]
	// Buffer may be shared by replicas that are called by the same goroutine; nil
	// for one of its own.
	Buffer *packing.Buffer
	// Publish, when not nil, is given each new View before anybody hears of an
	// acknowledgement or a release that it does not show yet.
	Publish func(View)
}

// Replica is one member of a raft group as a state machine: it is told of
// messages, batches, orders, completed writes and time, and Turn says what is
// to be done about them. It has no goroutine, clock or I/O. Everything in it
// belongs to the goroutine that calls it.
//
// Invariants:
//
//	nothing is committed in a raft term that the manager has not activated, so
//	no replica shows what the holder of a lease that is not over does not know
//	a proposal is acknowledged only after it is committed
//	queues exist only while this replica is a ready leader
//	inflight holds this term's proposals in log order
type Replica struct {
	cfg ReplicaConfig
	opt Options
	log *slog.Logger
	rn  *raft.RawNode
	now lease.Instant

	position pinetree.Position // last applied
	conf     configuration

	// What raft last said, refreshed by every Turn.
	basic   raft.BasicStatus
	lead    leadership
	holder  lease.Holder
	appoint campaign
	moving  *transfer
	reads   reads
	volumes map[pinetree.VolumeID]*volume
	ready   []*volume // in line to be proposed
	writers sharing.Users[pinetree.VolumeID]
	saving  int            // writes that wait for this node's disk
	unsaved int            // bytes of their entries
	commits news.Unwritten // what the raft log is given with the next of them
	dirty   []*volume      // whose listeners may have something to hear
	opening []*volume      // that have openings to answer
	opens   []func()       // Opens that came before this replica is a ready leader
	flight  flight
	floor   pinetree.RaftIndex // the log up to here is not kept for any member
	size    retention.Size
	sending sending

	replaying pace.Replay
	lag       *lag.Lag

	changing *changing // a change of members under way, proposed here; or nil
	incoming *incoming // a snapshot that is being taken in; or nil
	lost     error     // why this blank replica seems to be one that lost its disk

	// acknowledged is how far volumes were acknowledged when this replica last
	// led, which it may not have replayed yet.
	acknowledged map[pinetree.VolumeID]pinetree.LSN

	outbox  []*raftpb.Message
	stopped error
	retired error // it is no member any more, and only votes
}

// leadership is what a replica knows of its own raft term while it leads.
type leadership struct {
	term    pinetree.RaftTerm  // zero while it does not lead
	pace    pace.Usual         // of its commits
	first   pinetree.RaftIndex // of this term's first entry; zero until seen
	saved   pinetree.RaftIndex // its own log is durable up to here; zero until first is
	ready   bool               // first is applied
	contact map[pinetree.NodeID]lease.Instant
	since   lease.Instant
	warned  lease.Instant // when writers were last sent away for lack of a quorum
	rest    rest
	news    news.Desk
	// early are the newest accepted appends of each follower, which raft does
	// not hear of before the activation.
	early map[pinetree.NodeID]*raftpb.Message
	// removed are the nodes that were members earlier in this raft term.
	removed []pinetree.NodeID
	leave   lease.Instant // when to try again to leave a joint membership
}

// NewReplica starts from what the log and the engine hold. It refuses, with a
// *pinetree.CorruptError, a log and an engine that do not fit together.
func NewReplica(cfg ReplicaConfig) (*Replica, error) {
	if cfg.Buffer == nil {
		cfg.Buffer = new(packing.Buffer)
	}
	r := &Replica{
		cfg: cfg, opt: cfg.Options, log: cfg.Logger, position: cfg.Applied,
		holder: lease.NewHolder(cfg.Options.MaxDrift), lag: lag.New(cfg.Options.Lag, cfg.Lag),
		volumes: map[pinetree.VolumeID]*volume{}, acknowledged: map[pinetree.VolumeID]pinetree.LSN{},
	}
	r.reads.incarnation = cfg.Incarnation
	rn, conf, err := rawnode.New(rawnode.Config{
		Group: cfg.Group, Node: cfg.Node, Log: cfg.Log, Applied: cfg.Applied, Snapshot: r.makeSnapshot, Logger: cfg.Logger,
		ElectionTicks: cfg.Options.ElectionTicks, MaxMessageBytes: cfg.Options.MaxMessageBytes,
	})
	if err != nil {
		return nil, err
	}
	r.rn = rn
	r.setMembers(conf, cfg.Applied.Index)
	r.basic = r.rn.BasicStatus()
	r.retireIfRemoved()
	return r, nil
}
