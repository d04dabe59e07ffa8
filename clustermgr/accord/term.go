package accord

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/settings"
	"github.com/pinetree-db/pinetree/lease"
)

// Check reads what is recorded and refuses a manager that was told something else,
// with a *RefusedError, unless it is to change that. Other errors are the store's.
func Check(ctx context.Context, cfg settings.Config) error {
	if cfg.NewSettings {
		return nil
	}
	entries, err := cfg.Store.Read(ctx, ledger.SettingsKey)
	if err != nil {
		return err
	}
	book, err := ledger.Open(entries)
	if err != nil {
		return err
	}
	return check(book.Settings.Is, cfg)
}

// Accord is what holds in one manager's time as the active one. It belongs to
// whoever owns the records.
type Accord struct {
	// Since is the instant from which nobody else grants.
	Since lease.Instant
	// Changed says what is different from now on; empty when nothing is.
	Changed string

	cfg  settings.Config
	kept ledger.Kept[ledger.Settings]
}

// Take begins the time of a manager that took office at an instant. What it was
// told is recorded before it grants anything, and together with that what the one
// before may have granted by, so that whoever comes next waits for both.
func Take(ctx context.Context, cfg settings.Config, office ledger.Office, was ledger.Kept[ledger.Settings], taken lease.Instant) (*Accord, error) {
	a := &Accord{cfg: cfg, kept: was}
	switch refused := check(was.Is, cfg).(type) {
	case nil:
	case *RefusedError:
		if !cfg.NewSettings {
			return nil, refused
		}
		a.Changed = strings.Join(refused.Differences, "; ")
	}
	next := of(cfg)
	former := most(before(was.Is), next.Grants)
	a.Since = since(taken, former, cfg.Lease)
	if former != next.Grants {
		next.Former = &former
	}
	if next.Same(was.Is) {
		return a, nil
	}
	var err error
	a.kept.Is = next
	a.kept.Revision, err = cfg.Store.Swap(ctx, office, []ledger.Change{was.Put(ledger.SettingsKey, next)})
	if err != nil {
		return nil, fmt.Errorf("record the settings: %w", err)
	}
	return a, nil
}

// Settle waits until nothing counts any more of what was granted by former
// settings, and records that, so that the next manager need not wait for it. It ends
// with ctx. Persist makes a decision durable where the records belong.
func (a *Accord) Settle(ctx context.Context, persist func(context.Context, func() (ledger.Decision, error), func(int64)) error) {
	former := a.kept.Is.Former
	if former == nil {
		return
	}
	// The next one would count from when it takes office, which is not before now.
	over := a.Since.Add(a.cfg.Lease.Wait())
	for now := a.cfg.Clock(); now < over; now = a.cfg.Clock() {
		select {
		case <-time.After(over.Sub(now)):
		case <-ctx.Done():
			return
		}
	}
	next := a.kept.Is
	next.Former = nil
	err := persist(ctx, func() (ledger.Decision, error) {
		return ledger.Decide(ledger.Event{
			Kind: "settings_settled", Cause: "whatever was granted by the settings before is over",
			Outcome: "the next manager to take office waits by the new ones",
		}, a.kept.Put(ledger.SettingsKey, next)), nil
	}, func(revision int64) { a.kept.Is, a.kept.Revision = next, revision })
	if err != nil && ctx.Err() == nil {
		a.cfg.Log.Warn("that the former settings count no more is not recorded; the next manager waits for them, too", "err", err)
	}
}
