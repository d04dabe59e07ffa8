package host

import (
	"time"

	"github.com/pinetree-db/pinetree/logservice/fanout"
	"github.com/pinetree-db/pinetree/logservice/group"
)

// Options bound and pace a host. DefaultOptions are tested together.
type Options struct {
	Replica group.Options
	// Workers own the replicas; Appliers replay for them.
	Workers, Appliers int
	// MaxInbox bounds the events that wait for one worker.
	MaxInbox int
	// MaxOfferedBytes bounds the batches of all writers that wait for workers;
	// beyond it streams are not read.
	MaxOfferedBytes int64
	// FlushInterval is how often engines are asked to flush, so that the raft
	// log can be compacted.
	FlushInterval time.Duration
	// ProbeInterval is how often an idle log is fsynced to prove that the disk
	// answers.
	ProbeInterval time.Duration
	// MaxSnapshots bounds how many snapshots the node reads and sends at a time.
	MaxSnapshots int
	// SnapshotTimeout bounds the sending of one, its wait for a slot included.
	SnapshotTimeout time.Duration
	// KeepEntries is how many entries stay in the raft log below what
	// everybody has.
	KeepEntries int
	// Tails bounds what those who follow the log take.
	Tails fanout.Limits
}

// DefaultOptions are the tested defaults.
func DefaultOptions() Options {
	return Options{
		Replica:         group.DefaultOptions(),
		Workers:         2,
		Appliers:        2,
		MaxInbox:        16_384,
		MaxOfferedBytes: 256 << 20,
		FlushInterval:   time.Second,
		ProbeInterval:   300 * time.Millisecond,
		MaxSnapshots:    2,
		SnapshotTimeout: 10 * time.Minute,
		KeepEntries:     32,
		Tails:           fanout.DefaultLimits(),
	}
}
