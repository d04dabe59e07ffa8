package host

import (
	"context"
	"sync/atomic"

	"golang.org/x/time/rate"

	"github.com/pinetree-db/pinetree/raftlog"
)

// throttledBytes is how many bytes of batches a node takes in a second while
// little space is left: enough to go on, little enough to be noticed first.
const throttledBytes = 4 << 20

// space is what the node knows of the disk of its raft log, as of the last look.
type space struct {
	last    atomic.Pointer[raftlog.Space] // nil when the store does not know
	limiter *rate.Limiter
}

func newSpace() *space {
	return &space{limiter: rate.NewLimiter(throttledBytes, throttledBytes)}
}

// look asks the store. A file system that does not answer changes nothing.
func (s *space) look(h *Host) {
	store, knows := h.cfg.Log.(raftlog.Spacer)
	if !knows {
		return
	}
	now, err := store.Space()
	if err != nil {
		h.cfg.Logger.Warn("the free space of the raft log's disk is not known", "err", err)
		return
	}
	before := s.last.Swap(&now)
	if before == nil && now.Level == raftlog.SpacePlenty || before != nil && before.Level == now.Level {
		return
	}
	log := h.cfg.Logger.Warn
	if now.Level == raftlog.SpacePlenty {
		log = h.cfg.Logger.Info
	}
	log("free space of the raft log's disk", "level", now.Level, "free_bytes", now.Free, "total_bytes", now.Total)
}

// admit lets batches of a writer in, slowly when little space is left, and not
// at all, with pinetree.ErrDiskFull, when the rest is needed for recovery.
func (s *space) admit(ctx context.Context, bytes int) error {
	last := s.last.Load()
	if last == nil || last.Level < raftlog.SpaceThrottle {
		return nil
	}
	if err := last.Err(); err != nil {
		return err
	}
	return s.limiter.WaitN(ctx, min(bytes, throttledBytes))
}

// Space is what is left on the disk of the raft log, as of some moments ago;
// false when the store does not know.
func (h *Host) Space() (raftlog.Space, bool) {
	last := h.space.last.Load()
	if last == nil {
		return raftlog.Space{}, false
	}
	return *last, true
}
