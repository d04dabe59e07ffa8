package accord

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/settings"
	"github.com/pinetree-db/pinetree/lease"
)

// told is what a manager is told, with the defaults for the rest.
func told(t *testing.T, store ledger.Store, change func(*settings.Config)) settings.Config {
	t.Helper()
	cfg := settings.Config{Store: store, Address: "m"}
	if change != nil {
		change(&cfg)
	}
	cfg, err := cfg.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func recorded(t *testing.T, store ledger.Store) ledger.Kept[ledger.Settings] {
	t.Helper()
	entries, err := store.Read(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	book, err := ledger.Open(entries)
	if err != nil {
		t.Fatal(err)
	}
	return book.Settings
}

func elect(t *testing.T, store *ledger.Memory) ledger.Office {
	t.Helper()
	store.Expire()
	office, err := store.Campaign(t.Context(), "m")
	if err != nil {
		t.Fatal(err)
	}
	return office
}

func TestOtherSettingsAreRefusedAndNamed(t *testing.T) {
	store := ledger.NewMemory()
	first := told(t, store, nil)
	if err := Check(t.Context(), first); err != nil {
		t.Fatalf("nothing is recorded: %v", err)
	}
	if _, err := Take(t.Context(), first, elect(t, store), recorded(t, store), 0); err != nil {
		t.Fatal(err)
	}
	before := recorded(t, store)
	other := told(t, store, func(c *settings.Config) {
		c.Lease.Duration, c.Lease.MaxDrift, c.Replicas.ReplaceAfter = time.Second, 0.02, time.Minute
	})
	refused := (*RefusedError)(nil)
	for what, err := range map[string]error{
		"before the campaign": Check(t.Context(), other),
		"in office":           func() error { _, err := Take(t.Context(), other, elect(t, store), before, 0); return err }(),
	} {
		if !errors.As(err, &refused) || len(refused.Differences) != 3 {
			t.Fatalf("%s: %v", what, err)
		}
		for _, words := range []string{"a lease is 600ms in the cluster, and 1s here", "0.01 in the cluster, and 0.02 here", "replaced is 5m0s in the cluster, and 1m0s here", "--new-settings"} {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("%s: %v; want %q", what, err, words)
			}
		}
	}
	if now := recorded(t, store); now.Revision != before.Revision {
		t.Errorf("what is recorded has changed to %+v", now.Is)
	}
	if _, err := Take(t.Context(), told(t, store, nil), elect(t, store), before, 0); err != nil || recorded(t, store).Revision != before.Revision {
		t.Errorf("the same again: %v", err)
	}
}

func TestNewSettingsAreRecordedAndThenHoldForAll(t *testing.T) {
	store := ledger.NewMemory()
	old := told(t, store, func(c *settings.Config) { c.Lease.Duration = 2 * time.Second })
	if _, err := Take(t.Context(), old, elect(t, store), recorded(t, store), 0); err != nil {
		t.Fatal(err)
	}
	next := told(t, store, func(c *settings.Config) { c.NewSettings = true })
	if err := Check(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	office := elect(t, store)
	a, err := Take(t.Context(), next, office, recorded(t, store), 0)
	if err != nil || !strings.Contains(a.Changed, "2s in the cluster, and 600ms here") {
		t.Fatalf("changed %q, %v", a.Changed, err)
	}
	// The leases of 2 s count until the claim to the office is over, and longer.
	if least := lease.Instant(3*time.Second + 2*time.Second); a.Since.Add(next.Lease.Wait()) < least {
		t.Errorf("others may be granted at %v; the leases before are over at %v", a.Since.Add(next.Lease.Wait()), least)
	}
	if former := recorded(t, store).Is.Former; former == nil || former.LeaseMS != 2000 {
		t.Errorf("recorded of what may count: %+v", former)
	}
	refused := (*RefusedError)(nil)
	if err := Check(t.Context(), old); !errors.As(err, &refused) {
		t.Errorf("the old settings: %v", err)
	}
	// When nothing of theirs counts any more the next one need not wait for them.
	a.cfg.Clock = func() lease.Instant { return a.Since.Add(time.Hour) }
	a.Settle(t.Context(), func(ctx context.Context, prepare func() (ledger.Decision, error), commit func(int64)) error {
		d, err := prepare()
		if err != nil {
			return err
		}
		revision, err := store.Swap(ctx, office, d.Changes)
		commit(revision)
		return err
	})
	if now := recorded(t, store).Is; now.Former != nil || now.LeaseMS != 600 {
		t.Errorf("settled: %+v", now)
	}
}

// TestNobodyGrantsWhatAnotherMayStillHold: managers with all sorts of settings take
// office one after the other, some of them so soon that what the ones before were
// told still counts.
func TestNobodyGrantsWhatAnotherMayStillHold(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 1))
		store := ledger.NewMemory()
		now, over := lease.Instant(0), lease.Instant(0) // when all that was granted so far surely is
		for range 20 {
			taken := now
			cfg := told(t, store, func(c *settings.Config) {
				c.NewSettings = true
				c.Lease.Duration = time.Duration(300+random.IntN(5000)) * time.Millisecond
				c.OfficeClaim = time.Duration(600+random.IntN(5000)) * time.Millisecond
				c.Clock = func() lease.Instant { return now }
			})
			office := elect(t, store)
			a, err := Take(t.Context(), cfg, office, recorded(t, store), taken)
			if err != nil {
				t.Fatal(err)
			}
			if free := a.Since.Add(cfg.Lease.Wait()); free < over {
				t.Fatalf("seed %d: others are granted from %v on, and leases may last until %v", seed, free, over)
			}
			now = now.Add(time.Duration(random.IntN(9000)) * time.Millisecond)
			if now > a.Since.Add(cfg.Lease.Wait()) {
				a.Settle(t.Context(), func(ctx context.Context, prepare func() (ledger.Decision, error), commit func(int64)) error {
					d, err := prepare()
					if err != nil {
						return err
					}
					revision, err := store.Swap(ctx, office, d.Changes)
					commit(revision)
					return err
				})
			}
			// Its claim was confirmed last before the next one takes office.
			over = max(over, now.Add(cfg.OfficeClaim+cfg.Lease.Duration))
		}
	}
}
