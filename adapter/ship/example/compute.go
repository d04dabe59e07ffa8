package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/adapter/ship/example/pagestore"
)

const (
	// clients move money side by side, so that several transactions are on their
	// way when the compute node dies.
	clients = 3
	// poolPages are fewer than there are, so that pages come and go.
	poolPages = 24
	// pause between a client's transactions keeps the story short and the machine
	// cool; every largeEvery-th transaction is a large one.
	pause, largeEvery = 2 * time.Millisecond, 16
	// goodbye is how long a process may take to end when it is asked to.
	goodbye = 10 * time.Second
)

// life says how a compute node is to die.
type life struct {
	step, time int
	large      bool
	times      atomic.Int64
}

// at stands still when the time has come.
func (l *life) at(step int) {
	if step == l.step && l.times.Add(1) == int64(l.time) {
		emit(event{What: standing, Step: step})
		time.Sleep(time.Hour)
	}
}

// dial makes a client of the bank's volume.
func dial(ctx context.Context, where place) (*ship.Client, error) {
	return ship.Dial(ctx, ship.Config{Managers: where.managers, Volume: where.volume, Logger: slog.New(slog.DiscardHandler)})
}

// untilAsked ends its context when the first process closes standard input, or
// has died.
func untilAsked(ctx context.Context, hear func(io.Reader)) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		hear(os.Stdin)
		cancel()
		time.Sleep(goodbye)
		os.Exit(1)
	}()
	return ctx, cancel
}

// compute is the life of a compute node: it takes the bank over from whoever had
// it, founds it when there is none, and lets clients move money until it is asked
// to end, is replaced, or dies.
func compute(ctx context.Context, where place, l *life) error {
	err := l.live(ctx, where)
	switch {
	case err == nil:
		emit(event{What: closed})
	case errors.Is(err, pinetree.ErrStaleComputeTerm):
		emit(event{What: fenced, Error: err.Error()})
		return nil
	default:
		emit(event{What: failedFor, Error: err.Error()})
	}
	return err
}

func (l *life) live(ctx context.Context, where place) error {
	client, err := dial(ctx, where)
	if err != nil {
		return err
	}
	defer client.Close()
	asked, cancel := untilAsked(ctx, func(r io.Reader) { _, _ = io.Copy(io.Discard, r) })
	defer cancel()
	store, err := pagestore.Open(ctx, client, pagestore.Config{PoolPages: poolPages, At: func(s pagestore.Step) { l.at(int(s)) }})
	if err != nil {
		return err
	}
	r := store.Recovery()
	emit(event{What: opened, Term: r.Term, LSN: r.Durable, Commits: r.Commits})
	b := &branch{store: store, life: l}
	if r.Commits == 0 {
		err = b.transact(ctx, event{What: shipping, Txn: b.number.Add(1), Found: true}, foundIn)
	}
	if err == nil {
		err = b.serve(asked)
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	if closing := store.Close(ending); err == nil {
		err = closing
	}
	return err
}

// branch is where clients come to.
type branch struct {
	store  *pagestore.Store
	life   *life
	number atomic.Uint64
}

// serve lets clients move money until the context ends, or one of them gets an
// error, which it returns.
func (b *branch) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var serving sync.WaitGroup
	for range clients {
		serving.Go(func() {
			for ctx.Err() == nil {
				// A transaction that has begun is brought to its end.
				if err := b.transfer(context.WithoutCancel(ctx)); err != nil {
					cancel(err)
				}
				time.Sleep(pause)
			}
		})
	}
	serving.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// transfer makes one transaction.
func (b *branch) transfer(ctx context.Context) error {
	n := b.number.Add(1)
	large := b.life.large || n%largeEvery == 0
	moves := someMoves(large)
	return b.transact(ctx, event{What: shipping, Txn: n, Moves: moves}, func(t *pagestore.Txn) error {
		for _, m := range moves {
			if err := moveIn(t, m); err != nil {
				return err
			}
			if large {
				if err := fillIn(t, m.To); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// transact makes a transaction. Its client hears of it twice: of its name before it
// leaves, so that it can ask about it if it never hears again, and of its end.
func (b *branch) transact(ctx context.Context, about event, fn func(*pagestore.Txn) error) error {
	left := false
	_, err := b.store.Update(ctx, func(t *pagestore.Txn) error {
		t.OnShip(func(c pagestore.Commit) {
			left = true
			about.Term, about.LSN = c.Term, c.LSN
			emit(about)
		})
		return fn(t)
	})
	doubt := (*pagestore.InDoubtError)(nil)
	switch {
	case err == nil:
		emit(event{What: done, Txn: about.Txn})
		b.life.at(told)
	case left && !errors.As(err, &doubt):
		emit(event{What: undone, Txn: about.Txn, Error: err.Error()})
	}
	return err
}
