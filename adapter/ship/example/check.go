package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/adapter/ship/example/pagestore"
)

// recovered waits until a compute node has recovered, settles what the ones before
// have left in doubt, and compares every account with what the clients know.
func (s *story) recovered(ctx context.Context, c *child) (string, error) {
	e, err := c.until(ctx, opened, 1)
	if err != nil {
		return "", err
	}
	// The term of each of them was replaced, so the answer is the last word.
	doubts := s.books.doubts(e.Term)
	yes, no := 0, 0
	for _, t := range doubts {
		r, err := s.client.Resolve(ctx, adapter.Append{Term: t.term, LSN: t.lsn})
		if err == nil {
			err = s.books.resolve(t, r.Outcome)
		}
		if err != nil {
			return "", err
		}
		if r.Outcome == adapter.Committed {
			yes++
		} else {
			no++
		}
	}
	s.settled[0] += yes
	s.settled[1] += no
	if err := s.books.disagreement(e.Term, e.LSN); err != nil {
		return "", err
	}
	if err := s.check(ctx, e.LSN); err != nil {
		return "", err
	}
	return fmt.Sprintf("term %d from %s, %d transactions; in doubt: %d committed, %d rejected", e.Term, e.LSN, e.Commits, yes, no), nil
}

// check compares every account at an LSN, as a quorum has it and as each replica
// has it, with the books.
func (s *story) check(ctx context.Context, lsn pinetree.LSN) error {
	want, commits, err := s.books.replay(lsn, func(pinetree.LSN, *books) {})
	if err != nil {
		return err
	}
	readers := []ship.ReadConfig{{Level: pinetree.ReadConsistent, At: lsn}}
	for _, at := range s.client.Route().Replicas {
		readers = append(readers, ship.ReadConfig{Level: pinetree.ReadStale, Node: at.Node, MinLSN: lsn, At: lsn})
	}
	for _, cfg := range readers {
		if err := s.compare(ctx, cfg, want, commits); err != nil {
			return fmt.Errorf("at %s, read %s from node %d (0: any): %w", lsn, cfg.Level, cfg.Node, err)
		}
	}
	s.checks++
	return nil
}

// compare reads the bank and compares it.
func (s *story) compare(ctx context.Context, cfg ship.ReadConfig, want *books, commits uint64) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	reader := s.client.Reader(cfg)
	page := func(ctx context.Context, page pinetree.PageNo, offset int, into []byte) error {
		read, err := reader.Page(ctx, page)
		if errors.Is(err, pinetree.ErrNotFound) {
			read.Page, err = make([]byte, pagestore.PageBytes), nil
		}
		clear(into)
		if err == nil {
			copy(into, read.Page[offset:])
		}
		return err
	}
	got, err := readBooks(ctx, page)
	if err != nil {
		return err
	}
	if *got == *want && (commits == 0 || got.sum() == total) {
		return nil
	}
	for n := range got {
		if got[n] != want[n] {
			return fmt.Errorf("account %d has %d after %d changes, and by the %d transactions that have happened it has %d after %d", n, got[n].Balance, got[n].Changes, commits, want[n].Balance, want[n].Changes)
		}
	}
	return fmt.Errorf("there is %d in all, and there must be %d", got.sum(), total)
}

// lookout has the read-only compute node look again and again.
type lookout struct {
	reader *child
	stop   chan struct{}
	over   chan struct{}
}

// lookEvery is how often.
const lookEvery = 50 * time.Millisecond

// watchOn begins to ask a reader for snapshots that are at least at an LSN.
func watchOn(reader *child, least func() pinetree.LSN) *lookout {
	l := &lookout{reader: reader, stop: make(chan struct{}), over: make(chan struct{})}
	go func() {
		defer close(l.over)
		for asked := 1; ; asked++ {
			if _, err := io.WriteString(l.reader.stdin, least().String()+"\n"); err != nil {
				return // it has ended, which end reports
			}
			for l.reader.count(looked) < asked {
				select {
				case <-l.reader.exited:
					return
				case <-l.stop:
					return
				case <-time.After(time.Millisecond):
				}
			}
			select {
			case <-l.stop:
				return
			case <-time.After(lookEvery):
			}
		}
	}()
	return l
}

// end ends the reader, which must have had no trouble.
func (l *lookout) end(ctx context.Context) error {
	close(l.stop)
	<-l.over
	return l.reader.stop(ctx)
}
