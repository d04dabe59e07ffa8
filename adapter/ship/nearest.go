package ship

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/asking"
	"github.com/pinetree-db/pinetree/adapter/picker"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// targets lists the replicas that may answer a read which needs no leader, the
// one to ask first before the others: the one that was named, or else as the
// picker orders them. Those who ask for much spare the leader.
func (c *Client) targets(ctx context.Context, cfg ReadConfig, much bool) ([]Replica, error) {
	route, err := c.trusted(ctx)
	if err != nil {
		return nil, err
	}
	if cfg.Node != 0 {
		named := slices.DeleteFunc(slices.Clone(route.Replicas), func(r Replica) bool { return r.Node != cfg.Node })
		if len(named) == 0 {
			c.doubt()
			return nil, fmt.Errorf("node %d holds no replica of volume %s as far as is known", cfg.Node, c.cfg.Volume)
		}
		return named, nil
	}
	wish := cfg.wish(c.cfg.Zone)
	if much {
		wish.Spare = route.Leader
	}
	c.mu.Lock()
	order := c.picker.Order(wish, time.Now())
	c.mu.Unlock()
	list := slices.Clone(route.Replicas)
	rank := func(r Replica) int {
		if at := slices.Index(order, r.Node); at >= 0 {
			return at
		}
		return len(order) // only a hint named it, and the picker knows nothing of it
	}
	slices.SortStableFunc(list, func(a, b Replica) int { return rank(a) - rank(b) })
	return list, nil
}

// wish is what the picker needs to know. A consistent read waits until its
// replica has what is committed, so that one that is behind is as slow as that.
func (cfg ReadConfig) wish(zone string) picker.Wish {
	w := picker.Wish{Zone: zone, MinLSN: cfg.MinLSN, Stale: cfg.MaxStaleness}
	if cfg.Level == pinetree.ReadConsistent {
		w.Stale = time.Nanosecond
	}
	return w
}

// onReplica makes one round over the replicas that may send a stream which needs
// no leader. A stream goes on for long, and the leader ships meanwhile: it is asked
// when no other replica is as near and as fresh.
func (c *Client) onReplica(ctx context.Context, cfg ReadConfig, call nodeCall) error {
	targets, err := c.targets(ctx, cfg, true)
	if err != nil {
		return err
	}
	var failed error
	for _, at := range targets {
		err := c.attempt(ctx, at, call)
		full := errors.Is(err, pinetree.ErrQueueFull) || errors.Is(err, pinetree.ErrOverQuota) // each replica counts its own streams
		if err == nil || ctx.Err() != nil || !full && !Elsewhere(err) {
			return err
		}
		failed = alsoFailed(failed, err)
	}
	c.doubt()
	return failed
}

// race is onReplica for a read with one answer. The next replica is asked when
// the one before has failed, and once when it is late and the budget allows; the
// first answer wins, and the other read is cancelled.
func race[A answered](ctx context.Context, r *Reader, q question, call readCall[A]) (A, error) {
	var none A
	c := r.client
	targets, err := c.targets(ctx, r.cfg, false)
	if err != nil {
		return none, err
	}
	type reply struct {
		answer A
		err    error
	}
	replies := make(chan reply, len(targets))
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	open := 0
	next := func() {
		at := targets[0]
		targets = targets[1:]
		open++
		asking.Go(func() {
			answer, err := one(ctx, r, at, q, call)
			replies <- reply{answer, err}
		})
	}
	late := c.beginRead(q)
	next()
	var failed error
	for open > 0 {
		select {
		case got := <-replies:
			open--
			if got.err == nil || ctx.Err() != nil || !Elsewhere(got.err) {
				return got.answer, got.err
			}
			failed = alsoFailed(failed, got.err)
			if len(targets) > 0 {
				next()
			}
		case <-late:
			if len(targets) > 0 && c.mayHedge() {
				next()
			}
		}
	}
	c.doubt()
	return none, failed
}

// beginRead counts a read and tells, once, when its first replica is late.
func (c *Client) beginRead(q question) <-chan time.Time {
	c.mu.Lock()
	delay, hedged := c.hedger.Begin()
	c.mu.Unlock()
	if !hedged || q.heavy {
		return nil
	}
	return time.After(delay)
}

func (c *Client) mayHedge() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hedger.Spend()
}

// one asks one replica and takes note of what came of it.
func one[A answered](ctx context.Context, r *Reader, at Replica, q question, call readCall[A]) (A, error) {
	c := r.client
	c.mu.Lock()
	c.picker.Begin(at.Node)
	c.mu.Unlock()
	began := time.Now()
	var answer A
	err := c.attempt(ctx, at, func(ctx context.Context, _ Replica, conn *asking.Conn) (err error) {
		ctx, cancel := bounded(ctx, q.limit)
		defer cancel()
		if answer, err = call(ctx, conn); err != nil {
			return err
		}
		return r.cfg.proven(answer.GetServed())
	})
	now := time.Now()
	took := now.Sub(began)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil || !Elsewhere(err):
		if q.limit == 0 {
			took = 0 // it may have waited for something
		} else {
			c.hedger.Took(took)
		}
		c.picker.Served(at.Node, pinetree.LSN(answer.GetServed().GetLsn()), took, now)
	case ctx.Err() != nil:
		c.picker.Left(at.Node, took, now)
	default:
		c.picker.Failed(at.Node, now)
	}
	return answer, err
}

// proven refuses an answer that does not say that it is as fresh as was asked,
// such as that of a node which does not know how to.
func (cfg ReadConfig) proven(s *wirepb.Served) error {
	if cfg.Level != pinetree.ReadStale || cfg.MaxStaleness == 0 {
		return nil
	}
	if s.StaleMs == nil || time.Duration(s.GetStaleMs())*time.Millisecond > cfg.MaxStaleness {
		return fmt.Errorf("%w: the answer does not say that it is at most %s behind", pinetree.ErrNoLease, cfg.MaxStaleness)
	}
	return nil
}

// keepFresh asks the managers anew, beside the reads, when the route is older
// than RouteEvery.
func (c *Client) keepFresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Before(c.stale) || c.ctx.Err() != nil {
		return
	}
	c.stale = time.Now().Add(c.cfg.RouteEvery)
	c.tasks.Go(func() {
		if err := c.refresh(c.ctx); err != nil && c.ctx.Err() == nil {
			c.cfg.Logger.Debug("the route could not be refreshed", "volume", c.cfg.Volume, "error", err)
		}
	})
}
