package host

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/manifest"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// sends are the snapshots that this node sends to other replicas: each has a
// goroutine, and a few of them a slot in which they read the engine. Raft orders
// at most one for each member that lags, so no more of them wait.
type sends struct {
	host  *Host
	slots chan struct{}
	ctx   context.Context // ends with close
	stop  context.CancelFunc

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

func newSends(h *Host) *sends {
	s := &sends{host: h, slots: make(chan struct{}, max(1, h.cfg.Options.MaxSnapshots))}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// start sends a snapshot and reports its end to the replica, once, however it
// ends.
func (s *sends) start(g *Group, o group.SnapshotOrder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return // the replica stops, and nobody is left to hear of it
	}
	s.running.Go(func() {
		err := s.send(g, o)
		log := s.host.cfg.Logger.With("group", g.id, "to", o.To, "snapshot", o.ID)
		if err != nil {
			log.Warn("snapshot was not sent", "err", err)
		} else {
			log.Info("snapshot was sent")
		}
		g.postUrgent(func(r *group.Replica) { r.ReportSnapshot(o, err == nil) })
	})
}

func (s *sends) send(g *Group, o group.SnapshotOrder) (err error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.host.cfg.Options.SnapshotTimeout)
	defer cancel()
	if s.host.cfg.SendSnapshot == nil {
		return errors.New("this node was not told how to send snapshots")
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return fmt.Errorf("waiting for one of %d snapshots under way to end: %w", cap(s.slots), ctx.Err())
	}
	state, err := s.host.cfg.Engines.Snapshot(g.id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	message, err := manifest.Rebase(o.Message, state.Position())
	if err != nil {
		return err
	}
	return s.host.cfg.SendSnapshot(ctx, o.To, wirepb.GroupMessage{Group: g.id, Message: message}, state.Chunks)
}

// close cancels what is under way and waits for its end.
func (s *sends) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
}
