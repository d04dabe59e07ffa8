// Package settings is what a cluster manager is told when it starts: where its
// memory and its nodes are, and how long it waits for what.
package settings

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/clustermgr/upkeep"
	"github.com/pinetree-db/pinetree/lease"
)

// Config is what a manager needs to know. Zero fields get the defaults that
// their comments name; all managers of a cluster are to have the same ones, and
// those that others rely on are recorded; see package accord.
type Config struct {
	// Store is the shared durable memory. The manager does not close it.
	Store ledger.Store
	// Address is where nodes, clients and other managers reach this manager.
	Address string
	// Dial adds to the options of connections to nodes and to other managers, and
	// Serve to those of the manager's own server, for credentials.
	Dial  []grpc.DialOption
	Serve []grpc.ServerOption

	// NewSettings tells that these are to replace the recorded ones that differ.
	NewSettings bool

	// Lease is 600 ms, 1 % of drift, and proof not older than 1 s.
	Lease lease.Rules
	// Heartbeat is how often nodes are told to report; 150 ms.
	Heartbeat time.Duration
	// SilentAfter without a heartbeat a node is asked for a sign of life; 450 ms.
	SilentAfter time.Duration
	// DeadAfter without any sign of life a node is dead; 1.5 s. A refused
	// connection counts at once.
	DeadAfter time.Duration
	// SickAfter without a quorum or with an unfinished fsync a leader is
	// replaced though its node lives; 1.5 s.
	SickAfter time.Duration
	// StallAfter without replaying anything while entries are committed a leader is
	// replaced; 3 s.
	StallAfter time.Duration
	// Slow is when a node is slower than its peers: for eight looks in a row, which
	// are ComparePace of 500 ms apart, an fsync takes it more than 100 ms, a commit
	// 250 ms or replaying 500 ms, and four times as long as its peers.
	Slow        policy.SlowRules
	ComparePace time.Duration
	// Quarantine is for how long a node that was sick is not appointed: 30 s, then
	// twice as long each time up to 30 minutes, and 30 s again when it was well for
	// 10 minutes. Three deaths within 5 minutes count as sick.
	Quarantine policy.QuarantineRules
	// Storm is when silence proves nothing: for up to 10 s when many nodes fall
	// silent at once, and for 3 s when the manager has not looked for as long as it
	// takes a node to be silent.
	Storm policy.StormRules
	// Probe bounds one question to a node; 250 ms.
	Probe time.Duration
	// Call bounds an order to a node other than Appoint and Transfer; 2 s.
	Call time.Duration
	// Appoint bounds the wait for an appointed node to lead; 1 s.
	Appoint time.Duration
	// Retry is the wait after a failed operation on a group, doubled up to
	// MaxRetry; 100 ms and 2 s.
	Retry, MaxRetry time.Duration

	// OfficeClaim is how long a manager grants after the store last confirmed
	// its office; 3 s. A new manager waits for that of the one before.
	OfficeClaim time.Duration
	// OfficeConfirm is how often it asks; 500 ms.
	OfficeConfirm time.Duration

	// AwaitActive is how long a manager that is not active keeps calls while none
	// is, if their deadlines allow; 10 s.
	AwaitActive time.Duration

	// MovePause caps the time for which a planned move stops a group; 150 ms.
	MovePause time.Duration
	// MoveLagEntries and MoveLagBytes are how far the target of a planned move
	// may be behind; 10,000 entries and 8 MiB.
	MoveLagEntries uint64
	MoveLagBytes   uint64

	// MoveCatchUp is for how long a move waits, while the group is served, for a
	// target that is further behind; 5 s.
	MoveCatchUp time.Duration

	// ChangePace is how often a change of replicas that waits is looked at; 200 ms.
	ChangePace time.Duration

	// UpkeepPace is how often the whole cluster is looked at, at most; 250 ms.
	UpkeepPace time.Duration
	// Leaders bound the moves of leaders that the manager begins by itself: four
	// at once off nodes that drain, and 2 s after one that failed; for home zones
	// and balance one at a time, of leaders that are where they are for a minute,
	// to nodes that were well for 30 s.
	Leaders upkeep.LeaderRules
	// Keep is for how long a leader stays where an operator has moved it, unless
	// the node drains or fails; 10 min.
	Keep time.Duration

	// Replicas bound the changes of replicas that the manager begins by itself: five
	// minutes after a node died or lost a replica, and eight at once, two of them to
	// one node. A fifth of that time after the death of the node that was to have the
	// new one, another is tried. For a better balance one replica is moved each 10 s,
	// when all has been well for 30 s.
	Replicas upkeep.ReplicaRules

	// Tick is how often groups are looked at without a cause; 50 ms.
	Tick time.Duration
	// MaxOperations bounds the operations on groups under way at once; 256.
	MaxOperations int
	// MaxEvents is how many events are kept; 1,000.
	MaxEvents int

	// Clock is lease.BootTime.
	Clock func() lease.Instant
	// Log is slog.Default().
	Log *slog.Logger
}

func defaultTo[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// defaultHealth fills what tells sick nodes from healthy ones.
func (c *Config) defaultHealth() {
	defaultTo(&c.StallAfter, 3*time.Second)
	defaultTo(&c.Slow.Ratio, 4)
	defaultTo(&c.Slow.Fsync, 100*time.Millisecond)
	defaultTo(&c.Slow.Commit, 250*time.Millisecond)
	defaultTo(&c.Slow.Apply, 500*time.Millisecond)
	defaultTo(&c.Slow.Looks, 8)
	defaultTo(&c.ComparePace, 500*time.Millisecond)
	defaultTo(&c.Quarantine.First, 30*time.Second)
	defaultTo(&c.Quarantine.Most, 30*time.Minute)
	defaultTo(&c.Quarantine.Forget, 10*time.Minute)
	defaultTo(&c.Quarantine.Deaths, 3)
	defaultTo(&c.Quarantine.Window, 5*time.Minute)
	defaultTo(&c.Storm.Late, max(c.SilentAfter, 400*time.Millisecond))
	defaultTo(&c.Storm.Hold, 3*time.Second)
	defaultTo(&c.Storm.Most, 10*time.Second)
}

// WithDefaults fills what was not set, and refuses what makes no sense.
func (c Config) WithDefaults() (Config, error) {
	if c.Store == nil {
		return c, errors.New("cluster manager: no store was given")
	}
	if c.Address == "" {
		return c, errors.New("cluster manager: no address was given at which others reach it")
	}
	defaultTo(&c.Lease.Duration, 600*time.Millisecond)
	defaultTo(&c.Lease.MaxDrift, 0.01)
	defaultTo(&c.Lease.MaxQuorumAge, time.Second)
	defaultTo(&c.Lease.MaxFsyncPending, time.Second)
	defaultTo(&c.Heartbeat, 150*time.Millisecond)
	defaultTo(&c.SilentAfter, 3*c.Heartbeat)
	defaultTo(&c.DeadAfter, 1500*time.Millisecond)
	defaultTo(&c.SickAfter, 1500*time.Millisecond)
	c.defaultHealth()
	defaultTo(&c.Probe, 250*time.Millisecond)
	defaultTo(&c.Call, 2*time.Second)
	defaultTo(&c.Appoint, time.Second)
	defaultTo(&c.Retry, 100*time.Millisecond)
	defaultTo(&c.MaxRetry, 2*time.Second)
	defaultTo(&c.OfficeClaim, 3*time.Second)
	defaultTo(&c.OfficeConfirm, 500*time.Millisecond)
	defaultTo(&c.AwaitActive, 10*time.Second)
	defaultTo(&c.MovePause, 150*time.Millisecond)
	defaultTo(&c.MoveLagEntries, 10_000)
	defaultTo(&c.MoveLagBytes, 8<<20)
	defaultTo(&c.MoveCatchUp, 5*time.Second)
	defaultTo(&c.ChangePace, 200*time.Millisecond)
	defaultTo(&c.UpkeepPace, 250*time.Millisecond)
	defaultTo(&c.Leaders.Drains, 4)
	defaultTo(&c.Leaders.Again, 2*time.Second)
	defaultTo(&c.Leaders.Orders, 1)
	defaultTo(&c.Leaders.Calm, time.Minute)
	defaultTo(&c.Leaders.Trust, 30*time.Second)
	defaultTo(&c.Keep, 10*time.Minute)
	defaultTo(&c.Replicas.ReplaceAfter, 5*time.Minute)
	defaultTo(&c.Replicas.AbandonAfter, c.Replicas.ReplaceAfter/5)
	defaultTo(&c.Replicas.Changes, 8)
	defaultTo(&c.Replicas.PerNode, 2)
	defaultTo(&c.Replicas.Calm, 30*time.Second)
	defaultTo(&c.Replicas.Pace, 10*time.Second)
	defaultTo(&c.Tick, 50*time.Millisecond)
	defaultTo(&c.MaxOperations, 256)
	defaultTo(&c.MaxEvents, 1000)
	if c.Clock == nil {
		c.Clock = lease.BootTime
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	switch {
	case c.Lease.MaxDrift < 0 || c.Lease.MaxDrift >= 0.5:
		return c, fmt.Errorf("cluster manager: a clock drift bound of %g makes no sense; 0.01 is one percent", c.Lease.MaxDrift)
	case c.Lease.Duration < 2*c.Heartbeat:
		return c, fmt.Errorf("cluster manager: a lease of %v is over before two heartbeats of %v; make it longer or the heartbeats more frequent", c.Lease.Duration, c.Heartbeat)
	case c.DeadAfter <= c.SilentAfter:
		return c, fmt.Errorf("cluster manager: nodes must be silent (%v) before they are dead (%v)", c.SilentAfter, c.DeadAfter)
	case c.Replicas.ReplaceAfter < 0:
		return c, fmt.Errorf("cluster manager: lost replicas cannot be replaced after %v; name a time after which a node is not expected back, such as 5m", c.Replicas.ReplaceAfter)
	case c.OfficeClaim <= c.OfficeConfirm:
		return c, fmt.Errorf("cluster manager: the claim to the office (%v) must outlast the time between confirmations (%v)", c.OfficeClaim, c.OfficeConfirm)
	}
	return c, nil
}
