package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/pinetree-db/pinetree/logservice/crew"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/manifest"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// sends are the snapshots that this node sends to other replicas: each has a
// goroutine, and a few of them a slot in which they read the engine. Raft orders
// at most one for each member that lags, so no more of them wait.
type sends struct {
	*crew.Crew
	host  *Host
	slots chan struct{}
}

func newSends(h *Host) *sends {
	return &sends{Crew: crew.New(), host: h, slots: make(chan struct{}, max(1, h.cfg.Options.MaxSnapshots))}
}

// start sends a snapshot and reports its end to the replica, once, however it
// ends. While closing, nobody is left to hear of it.
func (s *sends) start(g *Group, o group.SnapshotOrder) {
	s.Start(func(ctx context.Context) {
		err := s.send(ctx, g, o)
		log := s.host.cfg.Logger.With("group", g.id, "to", o.To, "snapshot", o.ID)
		if err != nil {
			log.Warn("snapshot was not sent", "err", err)
		} else {
			log.Info("snapshot was sent")
		}
		g.postUrgent(func(r *group.Replica) { r.ReportSnapshot(o, err == nil) })
	})
}

func (s *sends) send(ctx context.Context, g *Group, o group.SnapshotOrder) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.host.cfg.Options.SnapshotTimeout)
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
