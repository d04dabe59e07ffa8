package pagestore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
)

// InDoubtError is the error of a transaction of which it is not known yet whether
// it has happened. The next compute term settles that: once it is open, Resolve
// answers that the transaction is committed or that it is rejected.
type InDoubtError struct {
	Commit Commit
	Cause  error
}

// Error says it in words.
func (e *InDoubtError) Error() string {
	return fmt.Sprintf("the transaction that ends at %s of compute term %d may or may not have happened; open the next term, then ask Resolve: %v", e.Commit.LSN, e.Commit.Term, e.Cause)
}

// Unwrap is why the acknowledgement did not come.
func (e *InDoubtError) Unwrap() error { return e.Cause }

// Update runs fn as a transaction and returns when it is durable on a majority of
// replicas. fn may be called once only. After an error nothing of the transaction
// has happened or ever will, but for an *InDoubtError. A transaction that changes
// nothing has no Commit.
func (s *Store) Update(ctx context.Context, fn func(*Txn) error) (Commit, error) {
	done, err := s.ship(ctx, fn)
	if err != nil {
		return Commit{}, err
	}
	s.cfg.At(Shipped)
	if err := s.durable(ctx, done); err != nil {
		return done, err
	}
	s.cfg.At(Acknowledged)
	return done, nil
}

// View runs fn on the pages as the last transaction has left them. It returns when
// that one is durable, so that nothing was shown that may turn out never to have
// happened; after an error what fn has seen does not count.
func (s *Store) View(ctx context.Context, fn func(*Txn) error) error {
	seen, err := s.look(ctx, fn)
	if err != nil {
		return err
	}
	return s.durable(ctx, seen)
}

func (s *Store) look(ctx context.Context, fn func(*Txn) error) (Commit, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writer.Err(); err != nil {
		return Commit{}, err
	}
	err := fn(&Txn{ctx: ctx, store: s, readOnly: true})
	return Commit{s.writer.Term(), s.tail}, err
}

// ship runs a transaction and hands it to the writer. Then the next one may see
// it, before it is durable: that one comes after it in the log, so it cannot be
// durable without it.
func (s *Store) ship(ctx context.Context, fn func(*Txn) error) (Commit, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writer.Err(); err != nil {
		return Commit{}, err
	}
	t := &Txn{ctx: ctx, store: s, changed: map[pinetree.PageNo][]byte{}, fresh: map[pinetree.PageNo]bool{}}
	if err := fn(t); err != nil {
		return Commit{}, err
	}
	if len(t.changed) == 0 {
		return Commit{s.writer.Term(), s.tail}, nil
	}
	records, err := t.records()
	if err != nil {
		return Commit{}, err
	}
	s.cfg.At(Changed)
	end := Commit{s.writer.Term(), records[len(records)-1].LSN}
	if t.tell != nil {
		t.tell(end)
	}
	s.cfg.At(Announced)
	// Append takes all of the records or none, and waits while too much is on its
	// way already.
	if err := s.writer.Append(ctx, records...); err != nil {
		return Commit{}, err
	}
	s.tail = end.LSN
	s.commits++
	s.versions.changed(end.LSN, t.changed)
	for page, data := range t.changed {
		s.keep(page, data)
	}
	return end, nil
}

// durable waits until the log is durable up to the end of a transaction, and when
// it cannot wait any longer, finds out what became of it.
func (s *Store) durable(ctx context.Context, end Commit) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	failed := s.writer.WaitDurable(ctx, end.LSN)
	if failed == nil {
		return nil
	}
	// The caller's time may be over.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), resolveTimeout)
	defer cancel()
	r, err := s.writer.Resolve(ctx, end.LSN)
	switch {
	case err != nil:
		return &InDoubtError{end, errors.Join(failed, err)}
	case r.Outcome == adapter.Committed:
		return nil
	case r.Outcome == adapter.Rejected:
		return fmt.Errorf("the transaction that ends at %s has not happened: %w", end.LSN, failed)
	}
	return &InDoubtError{end, failed} // the term is open, and it may be on its way still
}

// resolveTimeout bounds the question of what became of a transaction.
const resolveTimeout = 3 * time.Second
