// Package bounds is what bounds and paces the replicas of a node: settings with tested
// defaults, and nothing that acts by them.
package bounds

import (
	"time"

	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/logservice/lag"
)

// Options bound and pace replicas. DefaultOptions are tested together.
type Options struct {
	// TickInterval is the pace of heartbeats of leaders.
	TickInterval time.Duration
	// ElectionTicks is after how many ticks raft aborts a stuck transfer by
	// itself. Nobody is ever elected by it: followers are not ticked.
	ElectionTicks int
	// CampaignRetry is how long an appointed replica waits before it asks for
	// votes again; raft sends each request once.
	CampaignRetry time.Duration
	// ReadRetry is how long a quorum read waits before it asks anew.
	ReadRetry time.Duration
	// MaxPause bounds how long a transfer may keep writers waiting.
	MaxPause time.Duration
	// SuspectAfter is how long a leader may hear nothing from a quorum before it
	// sends its writers away to ask for another leader. It goes on leading.
	SuspectAfter time.Duration
	// QuietAfter is how long a leader is ticked on after the last wish of
	// anybody, some heartbeats at least.
	QuietAfter time.Duration
	// CommitDelay is how long the news of a commit may wait for entries to travel
	// with, while entries keep coming.
	CommitDelay time.Duration
	// MaxDrift bounds by which fraction clocks of two machines differ in rate.
	MaxDrift float64

	// MaxEntryBytes bounds how many bytes of batches share a raft entry; a
	// single larger batch goes alone.
	MaxEntryBytes int
	// MaxInflightBytes bounds what a leader has proposed and not yet seen
	// committed. What is above it waits in the queues.
	MaxInflightBytes int
	// MaxSharedBytes is that bound while several volumes of the group, or several
	// groups of the node, are written to: an append of one waits for what is in
	// flight of another.
	MaxSharedBytes int
	// MaxUnsavedBytes bounds what waits for this node's own disk, which a leader
	// does not need to commit.
	MaxUnsavedBytes int
	// Lag bounds what is committed and not replayed yet. A leader that reaches it
	// proposes no more, a follower takes no more in.
	Lag lag.Limits
	// MaxMessageBytes bounds the entries of one raft message.
	MaxMessageBytes int
	// MaxReads bounds the quorum reads waiting in one replica.
	MaxReads int
	// MaxTransferLag is how many bytes of log a target may lack when leadership
	// is to be handed to it.
	MaxTransferLag int
	// InactiveAfter is how long a member may be silent before little log is kept
	// for it.
	InactiveAfter time.Duration
	// MaxLogBytes is how much log is kept for a member that is silent; four
	// times as much for one that answers and is slow. Beyond it the member is
	// left behind and gets a snapshot.
	MaxLogBytes int64
	// SnapshotHold bounds how long the log after a snapshot is kept while the
	// snapshot is on its way.
	SnapshotHold time.Duration
	// Queue bounds each volume's reorder queue, in which a writer's whole window
	// waits while little of it may be in flight.
	Queue adapter.Limits
}

// DefaultOptions are the tested defaults.
func DefaultOptions() Options {
	return Options{
		TickInterval:     100 * time.Millisecond,
		ElectionTicks:    10,
		CampaignRetry:    200 * time.Millisecond,
		ReadRetry:        300 * time.Millisecond,
		MaxPause:         150 * time.Millisecond,
		SuspectAfter:     1500 * time.Millisecond,
		QuietAfter:       3 * time.Second,
		CommitDelay:      20 * time.Millisecond,
		MaxDrift:         0.01,
		MaxEntryBytes:    1 << 20,
		MaxInflightBytes: 16 << 20,
		MaxSharedBytes:   1 << 20,
		MaxUnsavedBytes:  64 << 20,
		Lag:              lag.Limits{MaxBytes: 32 << 20, MaxNodeBytes: 256 << 20, MinBytes: 1 << 20},
		MaxMessageBytes:  1 << 20,
		MaxReads:         10_000,
		MaxTransferLag:   8 << 20,
		InactiveAfter:    10 * time.Second,
		MaxLogBytes:      256 << 20,
		SnapshotHold:     10 * time.Minute,
		Queue:            adapter.Limits{MaxHeldBytes: 48 << 20, MaxHeldBatches: 16_384},
	}
}
