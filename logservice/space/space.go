// Package space is what a node knows of the free space of its raft log's disk, and
// what that lets writers in. It has no goroutine: who owns one looks.
package space

import (
	"context"
	"log/slog"
	"sync/atomic"

	"golang.org/x/time/rate"

	"github.com/pinetree-db/pinetree/raftlog"
)

// throttledBytes is how many bytes of batches a node takes in a second while
// little space is left: enough to go on, little enough to be noticed first.
const throttledBytes = 4 << 20

// Disk is what the node knows of the disk of its raft log, as of the last look. Any
// goroutine may use it.
type Disk struct {
	last    atomic.Pointer[raftlog.Space] // nil when the store does not know
	limiter *rate.Limiter
}

// New is a disk that was not looked at.
func New() *Disk {
	return &Disk{limiter: rate.NewLimiter(throttledBytes, throttledBytes)}
}

// Look asks the store. A file system that does not answer changes nothing.
func (d *Disk) Look(log raftlog.Store, tell *slog.Logger) {
	store, knows := log.(raftlog.Spacer)
	if !knows {
		return
	}
	now, err := store.Space()
	if err != nil {
		tell.Warn("the free space of the raft log's disk is not known", "err", err)
		return
	}
	before := d.last.Swap(&now)
	if before == nil && now.Level == raftlog.SpacePlenty || before != nil && before.Level == now.Level {
		return
	}
	say := tell.Warn
	if now.Level == raftlog.SpacePlenty {
		say = tell.Info
	}
	say("free space of the raft log's disk", "level", now.Level, "free_bytes", now.Free, "total_bytes", now.Total)
}

// Admit lets batches of a writer in, slowly when little space is left, and not
// at all, with pinetree.ErrDiskFull, when the rest is needed for recovery.
func (d *Disk) Admit(ctx context.Context, bytes int) error {
	last := d.last.Load()
	if last == nil || last.Level < raftlog.SpaceThrottle {
		return nil
	}
	if err := last.Err(); err != nil {
		return err
	}
	return d.limiter.WaitN(ctx, min(bytes, throttledBytes))
}

// Last is what is left on the disk, as of some moments ago; false when the store
// does not know.
func (d *Disk) Last() (raftlog.Space, bool) {
	last := d.last.Load()
	if last == nil {
		return raftlog.Space{}, false
	}
	return *last, true
}
