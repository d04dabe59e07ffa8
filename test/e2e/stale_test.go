package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// staleReads asks every replica for stale reads and compares each answer with the
// one log that was written.
type staleReads struct {
	h      *history
	volume uint64
	random *rand.Rand

	mu               sync.Mutex
	answered         int
	bounded, minimal int // of them with a bound in time, with a least LSN
	wrong            []string
	nodes            []wirepb.ReadsClient
}

// drift is by how much the clocks of nodes may differ from this process's.
const drift = 0.01

// run reads until ctx ends.
func (s *staleReads) run(ctx context.Context) {
	for ctx.Err() == nil {
		in := s.h.begin(s.random)
		q := &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE}
		switch durable := s.h.wrote.durable(s.h.now()); s.random.IntN(3) {
		case 0:
			q.MinLsn = uint64(durable) - min(uint64(durable), s.random.Uint64N(3))
		case 1:
			q.MaxStaleMs = 100 + uint32(s.random.IntN(900))
		}
		sent := s.h.now()
		limit, cancel := context.WithTimeout(ctx, time.Second)
		got, err := s.nodes[s.random.IntN(len(s.nodes))].Key(limit, &wirepb.KeyRequest{Volume: s.volume, Options: q, Key: []byte(in.key)})
		cancel()
		if err == nil {
			err = s.check(in, q, sent, got)
		}
		s.h.end(in, nil)
		s.note(err, q)
		time.Sleep(time.Duration(s.random.IntN(2000)) * time.Microsecond)
	}
}

// errPromise is a read that breaks what stale reads promise.
var errPromise = errors.New("a stale read broke its promise")

func (s *staleReads) note(err error, q *wirepb.ReadOptions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.answered++
		if q.MinLsn != 0 {
			s.minimal++
		}
		if q.MaxStaleMs != 0 {
			s.bounded++
		}
	case errors.Is(err, errPromise) && len(s.wrong) < 10:
		s.wrong = append(s.wrong, err.Error())
	}
}

// check holds an answer to what was promised with it.
func (s *staleReads) check(in access, q *wirepb.ReadOptions, sent int64, got *wirepb.KeyResponse) error {
	at := pinetree.LSN(got.Served.Lsn)
	// atLeast is the state that a read which is at most so old must show.
	atLeast := func(ms uint32) pinetree.LSN {
		age := time.Duration(float64(ms)*(1+2*drift))*time.Millisecond + time.Millisecond
		return s.h.wrote.durable(sent - int64(age))
	}
	want, known := s.h.wrote.value(in, at)
	switch {
	case at < pinetree.LSN(q.MinLsn):
		return fmt.Errorf("%w: at %s, asked for %d at least", errPromise, at, q.MinLsn)
	case at > s.h.wrote.tail():
		return fmt.Errorf("%w: at %s, and only %s was ever written", errPromise, at, s.h.wrote.tail())
	case known && string(got.Value) != want:
		return fmt.Errorf("%w: %s is %q at %s, and node %d says %q", errPromise, in.key, want, at, got.Served.Node, got.Value)
	case q.MaxStaleMs != 0 && at < atLeast(q.MaxStaleMs):
		return fmt.Errorf("%w: at %s, and %s was acknowledged %d ms before", errPromise, at, atLeast(q.MaxStaleMs), q.MaxStaleMs)
	case got.Served.StaleMs != nil && at < atLeast(*got.Served.StaleMs):
		return fmt.Errorf("%w: at %s, said to be no more than %d ms old, and %s was acknowledged before", errPromise, at, *got.Served.StaleMs, atLeast(*got.Served.StaleMs))
	}
	return nil
}
