package transport

import (
	"maps"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

const (
	// frameBytes is the size at which a frame is full. A larger message makes
	// a frame by itself.
	frameBytes = 1 << 20
	// settled is how long a connection must have served before the peer counts
	// as reachable again: one that refuses our frames accepts the connection.
	settled = time.Second
)

// sender is the state of a lane's goroutine; nobody else touches it.
type sender struct {
	*lane
	session session // nil when there is none
	opened  time.Time
	// groups are those that sent anything in this session: what is in flight
	// when it breaks may be lost.
	groups map[pinetree.GroupID]struct{}
	delay  *backoff.ExponentialBackOff
	down   bool
}

// run sends what is queued until the transport is closed.
func (l *lane) run() {
	s := &sender{lane: l, groups: map[pinetree.GroupID]struct{}{}, delay: &backoff.ExponentialBackOff{
		InitialInterval: 20 * time.Millisecond, RandomizationFactor: 0.3, Multiplier: 2, MaxInterval: 500 * time.Millisecond,
	}}
	defer s.disconnect()
	for {
		var broken <-chan struct{}
		if s.session != nil {
			broken = s.session.ended()
		}
		select {
		case <-l.transport.ctx.Done():
			return
		case <-broken:
			s.fail(nil, s.session.err())
		case <-l.wake:
			s.sendQueued()
		}
	}
}

// sendQueued sends frames until the queue is empty or a frame fails.
func (s *sender) sendQueued() {
	for frame := s.take(); len(frame) > 0; frame = s.take() {
		if err := s.send(frame); err != nil {
			s.fail(frame, err)
			return
		}
		clear(frame) // the queue's array is used for what comes next
		if s.down && time.Since(s.opened) > settled {
			s.down = false
			s.delay.Reset()
			s.transport.cfg.Logger.Info("peer reached again", "peer", s.peer, "lane", s.name)
		}
	}
}

// send sends one frame, on a new session if there is none.
func (s *sender) send(frame []queued) error {
	if s.session == nil {
		made, err := s.transport.open(s.peer)
		if err != nil {
			return err
		}
		s.session, s.opened = made, time.Now()
		s.update(func(stats *LaneStats) { stats.Connected = true })
	}
	size := 0
	messages := make([]wirepb.GroupMessage, len(frame))
	for i, m := range frame {
		size += m.bytes
		messages[i] = m.GroupMessage
		s.groups[m.Group] = struct{}{}
	}
	if err := s.session.send(messages); err != nil {
		return err
	}
	s.update(func(stats *LaneStats) {
		stats.SentFrames++
		stats.SentMessages += uint64(len(frame))
		stats.SentBytes += uint64(size)
	})
	return nil
}

// fail ends the session, drops the frame and what is queued behind it, reports
// the groups concerned, and waits a little, during which the queue fills again.
func (s *sender) fail(frame []queued, cause error) {
	s.disconnect()
	if s.transport.ctx.Err() != nil {
		return
	}
	dropped := append(frame, s.takeAll()...)
	for _, m := range dropped {
		s.groups[m.Group] = struct{}{}
	}
	s.update(func(stats *LaneStats) {
		stats.DroppedDown += uint64(len(dropped))
		stats.Failures++
	})
	if len(s.groups) > 0 {
		s.transport.cfg.Unreachable(s.peer, slices.Sorted(maps.Keys(s.groups)))
		clear(s.groups)
	}
	if !s.down {
		s.down = true
		s.transport.cfg.Logger.Warn("peer not reached; raft messages to it are dropped until it is", "peer", s.peer, "lane", s.name, "error", cause)
	}
	select {
	case <-s.transport.ctx.Done():
	case <-time.After(s.delay.NextBackOff()):
	}
}

func (s *sender) disconnect() {
	if s.session == nil {
		return
	}
	s.session.close()
	s.session = nil
	s.update(func(stats *LaneStats) { stats.Connected = false })
}
