package reign

import (
	"context"
	"log/slog"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/chronicle"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/members"
	"github.com/pinetree-db/pinetree/clustermgr/orders"
	"github.com/pinetree-db/pinetree/clustermgr/owner"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/clustermgr/settings"
	"github.com/pinetree-db/pinetree/clustermgr/upkeep"
	"github.com/pinetree-db/pinetree/clustermgr/ward"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Config is what a manager needs to know.
type Config = settings.Config

// Reign is the time during which this manager is the active one. Everything in
// it below "the owner's" belongs to the owner's goroutine; the others hand it
// functions by do. What waits for the network or the store is a task beside it.
type Reign struct {
	chronicle.Chronicle // serves what is asked about events
	cfg                 Config
	log                 *slog.Logger
	ctx                 context.Context // the owner's
	dial                *orders.Nodes
	owner               *owner.Owner
	hands               members.Hands

	// The owner's.
	since      lease.Instant // from here on no other manager grants
	cluster    ledger.Kept[ledger.Cluster]
	counters   ledger.Kept[ledger.Counters]
	nodes      map[pinetree.NodeID]*node
	groups     map[pinetree.GroupID]*group
	deleted    map[pinetree.GroupID]*group // of which nodes may still have files
	volumes    map[pinetree.VolumeID]*ledger.Kept[ledger.Volume]
	names      map[string]pinetree.VolumeID // of volumes
	addresses  uint64                       // rises when any node's address changes
	operations int                          // under way
	chores     chores
	ward       *ward.Ward
	pauses     upkeep.Pauses
	weighed    lease.Instant // when the balance of replicas was last looked at
	losses     members.Losses
	tending    int    // changes of replicas and ends of nodes that are being recorded
	turn       uint64 // of look
	// led counts the groups that each node is appointed to lead.
	led map[pinetree.NodeID]int
}

// node is a storage node. It belongs to the reign's owner.
type node struct {
	ward.Node
	session  *session
	reported lease.Instant // when replicas was; zero when never in this reign
	replicas map[pinetree.GroupID]*wirepb.ReplicaStatus
}

func (n *node) target() orders.Target { return orders.Target{Node: n.Is.ID, Address: n.Is.Address} }

// group is a raft group. It belongs to the reign's owner, but for its id.
type group struct {
	id pinetree.GroupID
	ledger.Kept[ledger.Group]
	granter    lease.Granter
	activating bool // the record of an activation is being written
	waiting    bool // a claim waits for another node's lease to end
	verdict    lease.Verdict
	claimed    bool // whether there was a verdict
	grants     uint64
	activated  lease.Instant // when the last activation was recorded

	busy     string // the operation under way
	rests    bool   // nothing was needed when it was last looked at
	retryAt  lease.Instant
	settled  lease.Instant // until here no change of leaders is begun
	failures int
	placed   map[pinetree.NodeID]bool
	reason   string                     // why it has no leader, or why the last operation failed
	pending  map[pinetree.VolumeID]bool // volumes that the group does not have yet, or still has

	progress policy.Progress

	changing   bool          // a step of a change of replicas is under way
	changeAt   lease.Instant // not before here is the next one begun
	changeNote string        // what the change waits for
}

// What follows is package owner's, by short names.

func (r *Reign) do(ctx context.Context, fn func()) error { return r.owner.Do(ctx, fn) }

func (r *Reign) tell(fn func()) { r.owner.Tell(fn) }

func (r *Reign) spawn(task func()) { r.owner.Spawn(task) }

func (r *Reign) event(e ledger.Event) { r.owner.Event(e) }

func (r *Reign) await(ctx context.Context, check func() (bool, error)) error {
	return r.owner.Await(ctx, check)
}

// Run reigns until the context ends or the office is lost, and says why.
func (r *Reign) Run() error {
	defer r.dial.Close()
	return r.owner.Run(r.look)
}

// persist makes a decision durable; see ledger.Scribe.
func (r *Reign) persist(ctx context.Context, prepare func() (ledger.Decision, error), commit func(revision int64)) error {
	return r.owner.Persist(ctx, prepare, func(revision int64) { commit(revision); r.notify() })
}

// notify wakes those who wait for something to become true.
func (r *Reign) notify() {
	r.chores.news = true
	r.owner.Notify()
}
