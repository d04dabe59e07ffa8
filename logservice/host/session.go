package host

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/group"
)

// maxOffers bounds the offers of one session that wait for the worker.
const maxOffers = 64

// Session is one stream of a writer: batches in, progress out. Offer is called
// by one goroutine, the rest by any.
type Session struct {
	group   *Group
	volume  pinetree.VolumeID
	term    pinetree.ComputeTerm
	tokens  chan struct{}
	changed chan struct{}
	stop    func() // the worker's

	mu       sync.Mutex
	progress group.Progress
}

// Ship starts a session of the writer of a compute term, which it has opened.
func (g *Group) Ship(ctx context.Context, id pinetree.VolumeID, term pinetree.ComputeTerm) (*Session, error) {
	s := &Session{
		group: g, volume: id, term: term,
		tokens: make(chan struct{}, maxOffers), changed: make(chan struct{}, 1),
	}
	_, err := ask(ctx, g, func(r *group.Replica, done func(struct{}, error)) {
		var err error
		s.stop, err = r.Listen(id, term, s.tell)
		done(struct{}{}, err)
	})
	if err == nil {
		return s, nil
	}
	if ctx.Err() != nil {
		s.Close() // it may have begun, or be about to
	}
	return nil, err
}

// tell keeps the newest progress; what was not read is replaced by it.
func (s *Session) tell(p group.Progress) {
	s.mu.Lock()
	if s.progress.Err == nil {
		if p.Err != nil {
			p.Committed, p.Applied = s.progress.Committed, s.progress.Applied
		}
		s.progress = p
	}
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Changed receives when Progress has something new.
func (s *Session) Changed() <-chan struct{} { return s.changed }

// Progress is the newest one. Once its Err is set the session is over.
func (s *Session) Progress() group.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress
}

// Offer gives batches, whose checksums were checked, towards the log. It
// returns when they are on their way to the replica; what is refused later is
// told as the session's error. It waits while too many offers of this session, or
// too many bytes of all sessions of the node, wait for a worker.
func (s *Session) Offer(ctx context.Context, batches []pinetree.Batch) error {
	bytes := int64(0)
	for _, b := range batches {
		bytes += int64(b.Size())
		if b.Volume != s.volume || b.Term != s.term {
			return fmt.Errorf("%w: (%s, %s] is of volume %d, compute term %d; this stream ships volume %d, compute term %d",
				pinetree.ErrBadBatch, b.Prev, b.LSN, b.Volume, b.Term, s.volume, s.term)
		}
	}
	if err := s.group.host.space.Admit(ctx, int(bytes)); err != nil {
		return err
	}
	select {
	case s.tokens <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	budget := s.group.host.offered
	bytes = min(bytes, s.group.host.cfg.Options.MaxOfferedBytes)
	if err := budget.Acquire(ctx, bytes); err != nil {
		<-s.tokens
		return err
	}
	taken := func() {
		budget.Release(bytes)
		<-s.tokens
	}
	err := s.group.post(offered, func(r *group.Replica) {
		defer taken()
		if s.Progress().Err != nil {
			return
		}
		for _, b := range batches {
			if err := r.Offer(b); err != nil {
				s.tell(group.Progress{Err: err})
				return
			}
		}
	})
	if err != nil {
		taken()
	}
	return err
}

// Close ends the session. Batches that were offered stay on their way.
func (s *Session) Close() {
	s.mu.Lock()
	s.progress.Err = errors.Join(s.progress.Err, context.Canceled)
	s.mu.Unlock()
	s.group.postUrgent(func(*group.Replica) {
		if s.stop != nil {
			s.stop()
		}
	})
}
