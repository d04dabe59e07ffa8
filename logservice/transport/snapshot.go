package transport

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/pinetree-db/pinetree"
)

// SnapshotLimits bound what snapshots may take of a node. Zero values stand for
// those of DefaultSnapshots.
type SnapshotLimits struct {
	// BytesPerSecond is how much the snapshots that a node sends may take of
	// disk and network, all together.
	BytesPerSecond int
	// Sending is how many a node sends at once, each to another node. It takes
	// one at a time.
	Sending int
	// Stall is how long a snapshot may make no progress, at either end, before
	// it is given up. The work of the receiver after the last chunk is one step.
	Stall time.Duration
}

// DefaultSnapshots are the tested defaults.
var DefaultSnapshots = SnapshotLimits{BytesPerSecond: 64 << 20, Sending: 2, Stall: 15 * time.Second}

const (
	// maxChunkBytes bounds a chunk, well above what engines make.
	maxChunkBytes = 4 << 20
	// maxBurstBytes is how much may leave at once after a rest. The rate is
	// held at about this grain.
	maxBurstBytes = 1 << 20
)

func (l SnapshotLimits) withDefaults() SnapshotLimits {
	l.BytesPerSecond = cmp.Or(l.BytesPerSecond, DefaultSnapshots.BytesPerSecond)
	l.Sending = cmp.Or(l.Sending, DefaultSnapshots.Sending)
	l.Stall = cmp.Or(l.Stall, DefaultSnapshots.Stall)
	return l
}

// SnapshotStats is what a node has sent and taken of snapshots since the start
// of the process. Those that were refused at once for want of room count as
// refused and not as failed.
type SnapshotStats struct {
	Sending       int    `json:"sending"`
	Taking        int    `json:"taking"`
	Sent          uint64 `json:"sent"`
	Taken         uint64 `json:"taken"`
	SendFailed    uint64 `json:"send_failed"`
	TakeFailed    uint64 `json:"take_failed"`
	Refused       uint64 `json:"refused"`
	SentBytes     uint64 `json:"sent_bytes"`
	ReceivedBytes uint64 `json:"received_bytes"`
}

// snapshots is the room that a node has for them. Any goroutine may call it.
type snapshots struct {
	limits  SnapshotLimits
	limiter *rate.Limiter

	mu     sync.Mutex
	to     map[pinetree.NodeID]pinetree.GroupID // being sent
	taking string                               // the one being taken, in words
	stats  SnapshotStats
}

func newSnapshots(limits SnapshotLimits) *snapshots {
	limits = limits.withDefaults()
	burst := min(maxBurstBytes, max(64<<10, limits.BytesPerSecond/16))
	return &snapshots{
		limits: limits, limiter: rate.NewLimiter(rate.Limit(limits.BytesPerSecond), burst),
		to: map[pinetree.NodeID]pinetree.GroupID{},
	}
}

// beginSending takes a place for a snapshot to a node, or refuses with
// pinetree.ErrQueueFull.
func (s *snapshots) beginSending(to pinetree.NodeID, group pinetree.GroupID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other, busy := s.to[to]; busy {
		s.stats.Refused++
		return fmt.Errorf("%w: group %d waits with its snapshot to node %d until that of group %d is done", pinetree.ErrQueueFull, group, to, other)
	}
	if len(s.to) >= s.limits.Sending {
		s.stats.Refused++
		return fmt.Errorf("%w: group %d waits with its snapshot to node %d until one of %d others is done", pinetree.ErrQueueFull, group, to, len(s.to))
	}
	s.to[to] = group
	return nil
}

func (s *snapshots) endSending(to pinetree.NodeID, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.to, to)
	count(err, &s.stats.Sent, &s.stats.SendFailed)
}

// beginTaking takes the one place for a snapshot from another node, or refuses
// with pinetree.ErrQueueFull.
func (s *snapshots) beginTaking(what string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taking != "" {
		s.stats.Refused++
		return fmt.Errorf("%w: this node takes one snapshot at a time, now that of %s; send it again later", pinetree.ErrQueueFull, s.taking)
	}
	s.taking = what
	return nil
}

func (s *snapshots) endTaking(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taking = ""
	count(err, &s.stats.Taken, &s.stats.TakeFailed)
}

func count(err error, good, bad *uint64) {
	if err != nil {
		good = bad
	}
	*good++
}

func (s *snapshots) update(change func(*SnapshotStats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.stats)
}

// pace waits until size more bytes may be sent.
func (s *snapshots) pace(ctx context.Context, size int) error {
	for size > 0 {
		part := min(size, s.limiter.Burst())
		if err := s.limiter.WaitN(ctx, part); err != nil {
			return err
		}
		size -= part
	}
	return nil
}

// SnapshotStats tells what became of the snapshots that this node sent or took.
func (t *Transport) SnapshotStats() SnapshotStats {
	s := t.snapshots
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.stats
	now.Sending = len(s.to)
	if s.taking != "" {
		now.Taking = 1
	}
	return now
}

// watchdog ends a snapshot that makes no progress. It belongs to the goroutine
// that makes it.
type watchdog struct {
	timer *time.Timer
	stall time.Duration
}

// watch calls bark with the reason when no step was made for the time.
func watch(stall time.Duration, what string, bark func(error)) *watchdog {
	return &watchdog{stall: stall, timer: time.AfterFunc(stall, func() {
		bark(fmt.Errorf("%w: %s made no progress for %s", context.DeadlineExceeded, what, stall))
	})}
}

func (w *watchdog) step() { w.timer.Reset(w.stall) }
func (w *watchdog) stop() { w.timer.Stop() }
