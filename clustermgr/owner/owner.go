// Package owner is one goroutine to which all that an active manager knows
// belongs, with tasks beside it for whatever waits: for nodes, for the store, for
// callers. It holds the office, makes decisions durable and keeps the events. It
// decides nothing and knows neither nodes nor groups.
package owner

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/refusal"
	"github.com/pinetree-db/pinetree/clustermgr/settings"
	"github.com/pinetree-db/pinetree/lease"
)

// Owner runs functions one after the other, in its goroutine. It ends when its
// context does or when the office is lost.
type Owner struct {
	cfg    settings.Config
	office ledger.Office
	ctx    context.Context
	cancel context.CancelCauseFunc
	scribe ledger.Scribe
	inbox  chan func()
	ended  chan struct{} // closed when the goroutine is over
	tasks  sync.WaitGroup

	// Of the goroutine.
	claimed lease.Instant // the office is surely held until here
	events  ledger.Events
	changed chan struct{} // closed and replaced when waiters should look again
}

// New makes the owner of an office. Nothing runs before Run; what is done until
// then belongs to the caller.
func New(ctx context.Context, cfg settings.Config, office ledger.Office, stored []ledger.Event) *Owner {
	o := &Owner{
		cfg: cfg, office: office, inbox: make(chan func(), 256), ended: make(chan struct{}),
		events: ledger.NewEvents(stored, cfg.MaxEvents), changed: make(chan struct{}),
	}
	o.scribe = ledger.Scribe{Store: cfg.Store, Office: office, Owner: o.Do, Events: &o.events, Timeout: cfg.OfficeClaim, Log: cfg.Log}
	o.scribe.Start()
	o.ctx, o.cancel = context.WithCancelCause(ctx)
	return o
}

// Context ends when the owner does.
func (o *Owner) Context() context.Context { return o.ctx }

// Ended is closed when the goroutine is over.
func (o *Owner) Ended() <-chan struct{} { return o.ended }

// Claimed tells whether the office is surely held at an instant. It is to be
// called in the goroutine, as are Events, Notify and Event.
func (o *Owner) Claimed(now lease.Instant) bool { return now < o.claimed }

// Events are those that are kept.
func (o *Owner) Events() *ledger.Events { return &o.events }

// Run runs what it is handed, and look at every tick, until the context ends or
// the office is lost, and says why. It returns when all tasks have.
func (o *Owner) Run(look func()) error {
	o.Spawn(func() { o.cancel(o.scribe.Run(o.ctx)) })
	o.Spawn(o.confirmOffice)
	o.own(look)
	o.tasks.Wait()
	return context.Cause(o.ctx)
}

func (o *Owner) own(look func()) {
	defer close(o.ended)
	tick := time.NewTicker(o.cfg.Tick)
	defer tick.Stop()
	for {
		select {
		case fn := <-o.inbox:
			fn()
		case <-tick.C:
			look()
		case <-o.ctx.Done():
			return
		}
	}
}

// Do runs fn in the goroutine and waits for it.
func (o *Owner) Do(ctx context.Context, fn func()) error {
	done := make(chan struct{})
	select {
	case o.inbox <- func() { fn(); close(done) }:
	case <-ctx.Done():
		return ctx.Err()
	case <-o.ctx.Done():
		return refusal.NotActive("")
	}
	select {
	case <-done:
		return nil
	case <-o.ended: // not before the end of an fn that had begun
	}
	select {
	case <-done:
		return nil
	default:
		return refusal.NotActive("")
	}
}

// Tell is Do for a task, which ends with the owner.
func (o *Owner) Tell(fn func()) { _ = o.Do(o.ctx, fn) }

// Spawn runs a task beside the goroutine.
func (o *Owner) Spawn(task func()) { o.tasks.Go(task) }

// Persist makes a decision durable, and logs its events when it is; see
// ledger.Scribe.
func (o *Owner) Persist(ctx context.Context, prepare func() (ledger.Decision, error), commit func(revision int64)) error {
	var decided ledger.Decision
	err := o.scribe.Persist(ctx, func() (_ ledger.Decision, err error) {
		decided, err = prepare()
		return decided, err
	}, func(revision int64) {
		commit(revision)
		for _, e := range decided.Events {
			o.tell(e)
		}
	})
	switch {
	case errors.Is(err, ledger.ErrNotActive):
		return refusal.NotActive("")
	case errors.Is(err, ledger.ErrInterrupted):
		return refusal.Interrupted()
	}
	return err
}

// Notify wakes those who wait for something to become true.
func (o *Owner) Notify() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// Await calls check in the goroutine, at once and after every Notify, until it
// returns true or an error, or the context ends. It is for what has begun.
func (o *Owner) Await(ctx context.Context, check func() (bool, error)) error {
	for {
		var done bool
		var err error
		var changed chan struct{}
		if e := o.Do(ctx, func() { done, err = check(); changed = o.changed }); e != nil {
			return cmp.Or(ctx.Err(), refusal.Interrupted())
		}
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-o.ctx.Done():
			return refusal.Interrupted()
		}
	}
}

// Event keeps an observation, and logs it. What is decided comes with its Persist.
func (o *Owner) Event(e ledger.Event) {
	o.tell(e)
	o.events.Add(e)
	o.scribe.Wake()
}

func (o *Owner) tell(e ledger.Event) {
	o.cfg.Log.Info(e.Kind, "group", e.Group, "node", e.Node, "appointment", e.Appointment, "cause", e.Cause, "inputs", e.Inputs, "outcome", e.Outcome)
}

// confirmOffice asks the store again and again whether the office is still
// held. The claim counts from before each question, so it is over, by this
// clock, before a new manager believes it is.
func (o *Owner) confirmOffice() {
	tick := time.NewTicker(o.cfg.OfficeConfirm)
	defer tick.Stop()
	for {
		asked := o.cfg.Clock()
		// Short enough to ask again while the claim lasts.
		ctx, cancel := context.WithTimeout(o.ctx, o.cfg.OfficeClaim/3)
		err := o.cfg.Store.Confirm(ctx, o.office)
		cancel()
		switch {
		case err == nil:
			claim := time.Duration(float64(o.cfg.OfficeClaim) * (1 - o.cfg.Lease.MaxDrift))
			o.Tell(func() { o.claimed = asked.Add(claim) })
		case errors.Is(err, ledger.ErrNotActive):
			o.cancel(err)
			return
		case o.ctx.Err() == nil:
			o.cfg.Log.Warn("the store does not confirm the office; grants stop when the claim is over", "err", err)
		}
		select {
		case <-tick.C:
		case <-o.ctx.Done():
			return
		}
	}
}
