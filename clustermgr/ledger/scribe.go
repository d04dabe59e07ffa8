package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// eventPause is how long an event may wait for a decision to be written with:
// while one write is under way the next one waits, and a decision is what a group
// may be standing still for.
const eventPause = 50 * time.Millisecond

// maxChanges bounds one write to the store; etcd takes 128 in a transaction.
const maxChanges = 100

// slowWrite is how long a write to the store takes when something is wrong with it,
// such as a disk that others keep busy.
const slowWrite = 200 * time.Millisecond

// Scribe writes the decisions of one office to the store, many at a time, in
// the order they come. Its Owner runs a function in the goroutine that owns
// the state decided on, and returns an error when that is over.
type Scribe struct {
	Store   Store
	Office  Office
	Owner   func(ctx context.Context, fn func()) error
	Events  *Events       // the owner's
	Timeout time.Duration // of one write
	Log     *slog.Logger

	decisions chan *pending
	wake      chan struct{}
	over      chan struct{} // closed when Run has ended
}

// pending is a decision to be written. The owner's goroutine runs prepare when its turn
// has come and commit when it is durable, so both see the newest state and no
// other decision comes between them.
type pending struct {
	prepare func() (Decision, error)
	commit  func(revision int64)
	done    chan error
}

// Start makes the channels. It is to be called before anything else.
func (s *Scribe) Start() {
	s.decisions, s.wake, s.over = make(chan *pending, 256), make(chan struct{}, 1), make(chan struct{})
}

// Persist makes a decision durable, with the events that tell of it: after a crash
// both are there or neither. Prepare makes it and commit takes note of its revision,
// both in the owner's goroutine; without changes there is no commit, and prepare may
// be called again. After ErrInterrupted and an error of the context the decision may
// still be made; after any other it is not.
func (s *Scribe) Persist(ctx context.Context, prepare func() (Decision, error), commit func(revision int64)) error {
	d := &pending{prepare, commit, make(chan error, 1)}
	select {
	case s.decisions <- d:
	case <-ctx.Done():
		return fmt.Errorf("the managers' store takes no decisions: %w", ctx.Err())
	case <-s.over:
		return ErrNotActive
	}
	select {
	case err := <-d.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("the managers' store has not confirmed a decision: %w", ctx.Err())
	case <-s.over:
	}
	select {
	case err := <-d.done: // which was said before
		return err
	default:
		return ErrNotActive // its turn never came
	}
}

// Wake has new events written. It never blocks.
func (s *Scribe) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// batch is what goes into one write to the store.
type batch struct {
	decisions []*pending
	changes   []Change
	told      int // events of the decisions
	keys      map[string]bool
	later     []*pending // touch a key that the batch has already, or too many
	events    uint64     // the store has all events up to this id after the batch
}

// Run writes until ctx ends or the store refuses: ErrNotActive, or ErrConflict
// when somebody else has written, and everything is to be read anew.
func (s *Scribe) Run(ctx context.Context) error {
	defer close(s.over)
	var waiting []*pending
	for {
		if len(waiting) == 0 {
			select {
			case d := <-s.decisions:
				waiting = append(waiting, d)
			case <-s.wake:
				select {
				case d := <-s.decisions:
					waiting = append(waiting, d)
				case <-time.After(eventPause):
				case <-ctx.Done():
					return ctx.Err()
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		waiting = s.gather(waiting)
		b := batch{keys: map[string]bool{}}
		if err := s.Owner(ctx, func() { s.prepare(&b, waiting) }); err != nil {
			return err
		}
		waiting = b.later
		if len(b.changes) == 0 {
			continue
		}
		revision, made, err := s.swap(ctx, b.changes)
		if err == nil {
			err = s.Owner(ctx, func() { b.commit(revision); s.wrote(b.events) })
		}
		if err != nil {
			b.giveUp(made)
			return err
		}
	}
}

// wrote takes note of written events, and goes on when there are more.
func (s *Scribe) wrote(upTo uint64) {
	s.Events.wrote(upTo)
	if s.Events.waiting() {
		s.Wake()
	}
}

// gather takes what waits, without waiting.
func (s *Scribe) gather(waiting []*pending) []*pending {
	for len(waiting) < maxChanges {
		select {
		case d := <-s.decisions:
			waiting = append(waiting, d)
		default:
			return waiting
		}
	}
	return waiting
}

func (s *Scribe) prepare(b *batch, waiting []*pending) {
	before := s.Events.last
	for i, d := range waiting {
		if len(b.changes)+b.told > maxChanges/2 {
			b.later = append(b.later, waiting[i:]...)
			break
		}
		// A decision is prepared on the state before this batch, so it must
		// not touch what the batch changes.
		decided, err := d.prepare()
		switch {
		case err != nil || len(decided.Changes) == 0:
			d.done <- err
		case b.add(decided.Changes):
			b.decisions = append(b.decisions, d)
			b.told += len(decided.Events)
			for _, e := range decided.Events {
				s.Events.Add(e)
			}
		default:
			b.later = append(b.later, d)
		}
	}
	changes, upTo := s.Events.write(maxChanges-len(b.changes), before)
	b.changes, b.events = append(b.changes, changes...), upTo
}

// add takes changes of keys that the batch does not touch yet, or none.
func (b *batch) add(changes []Change) bool {
	for _, c := range changes {
		if b.keys[c.Key] {
			return false
		}
	}
	for _, c := range changes {
		b.keys[c.Key] = true
	}
	b.changes = append(b.changes, changes...)
	return true
}

func (b *batch) commit(revision int64) {
	for _, d := range b.decisions {
		d.commit(revision)
		d.done <- nil
	}
}

// giveUp answers those whose decisions were being written when the office ended.
func (b *batch) giveUp(made bool) {
	err := ErrNotActive
	if made {
		err = ErrInterrupted
	}
	for _, d := range b.decisions {
		select {
		case d.done <- err:
		default: // it was committed before
		}
	}
}

// swap writes until the outcome is known, or the office is over; made tells
// whether the changes may have been made. Nobody else writes while the office
// is held, so a conflict means that an earlier try with an unknown outcome was
// made after all, which reading shows, or that the store was tampered with.
func (s *Scribe) swap(ctx context.Context, changes []Change) (revision int64, made bool, err error) {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		once, cancel := context.WithTimeout(ctx, s.Timeout)
		began := time.Now()
		revision, err = s.Store.Swap(once, s.Office, changes)
		if errors.Is(err, ErrConflict) {
			revision, err = s.alreadyMade(once, changes)
		}
		cancel()
		if took := time.Since(began); err == nil && took > slowWrite {
			s.Log.Warn("the managers' store was slow to take a decision; appointments and activations wait for it", "took", took)
		}
		switch {
		case err == nil:
			return revision, true, nil
		case errors.Is(err, ErrNotActive), errors.Is(err, ErrConflict):
			return 0, made, err
		case ctx.Err() != nil:
			return 0, true, ctx.Err()
		}
		made = true
		s.Log.Warn("the managers' store does not take a decision; trying again", "err", err, "in", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, made, ctx.Err()
		}
	}
}

// alreadyMade returns the revision at which exactly these changes were made, or
// ErrConflict.
func (s *Scribe) alreadyMade(ctx context.Context, changes []Change) (int64, error) {
	var revision int64
	for _, c := range changes {
		found, err := s.Store.Read(ctx, c.Key)
		if err != nil {
			return 0, err
		}
		switch {
		case c.Value == nil && len(found) == 0:
		case len(found) == 1 && bytes.Equal(found[0].Value, c.Value) && (revision == 0 || revision == found[0].Revision):
			revision = found[0].Revision
		default:
			return 0, fmt.Errorf("key %s: %w", c.Key, ErrConflict)
		}
	}
	return revision, nil
}
