package etcdstore

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/clustermgr/ledger"
)

func startEtcd(t *testing.T) *Embedded {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	etcd, err := StartEmbedded(ctx, t.TempDir(), slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	return etcd
}

func open(t *testing.T, etcd *Embedded, prefix string) *Store {
	t.Helper()
	s, err := Open(Config{Endpoints: etcd.Endpoints, Prefix: prefix, SessionTTL: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// both runs a test on the store in memory and on etcd, twice opened: two
// managers. Expire ends the office of the first one behind its back.
func both(t *testing.T, test func(t *testing.T, first, second ledger.Store, expire func(ledger.Office))) {
	t.Run("memory", func(t *testing.T) {
		m := ledger.NewMemory()
		test(t, m, m, func(ledger.Office) { m.Expire() })
	})
	etcd := startEtcd(t)
	t.Run("etcd", func(t *testing.T) {
		first, second := open(t, etcd, "one"), open(t, etcd, "one")
		test(t, first, second, func(o ledger.Office) {
			first.mu.Lock()
			lease := first.sessions[o].lease
			first.mu.Unlock()
			if _, err := second.client.Revoke(t.Context(), lease); err != nil {
				t.Fatal(err)
			}
		})
	})
}

func put(key, value string, expect int64) ledger.Change {
	return ledger.Change{Key: key, Value: []byte(value), Expect: expect}
}

func mustSwap(t *testing.T, s ledger.Store, o ledger.Office, changes ...ledger.Change) int64 {
	t.Helper()
	revision, err := s.Swap(t.Context(), o, changes)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func keys(t *testing.T, s ledger.Store, prefix string) []string {
	t.Helper()
	entries, err := s.Read(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		found = append(found, e.Key+"="+string(e.Value))
	}
	return found
}

func campaign(t *testing.T, s ledger.Store, address string) ledger.Office {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	o, err := s.Campaign(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// active is what a store says first of the active manager.
func active(t *testing.T, s ledger.Store) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	told := "nothing was told"
	err := s.Watch(ctx, func(address string) {
		if ctx.Err() == nil {
			told = address
			cancel()
		}
	})
	return told, err
}

func TestMain(m *testing.M) {
	// They wait most of the time, so that more of them fit on a processor.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestSwapChangesAllOrNothing(t *testing.T) {
	both(t, func(t *testing.T, s, _ ledger.Store, _ func(ledger.Office)) {
		o := campaign(t, s, "m1")
		first := mustSwap(t, s, o, put("a/1", "x", 0), put("a/2", "y", 0), put("b", "z", 0))
		for name, changes := range map[string][]ledger.Change{
			"exists":              {put("a/3", "n", 0), put("a/1", "n", 0)},
			"old revision":        {put("a/3", "n", 0), put("a/1", "n", first-1)},
			"no such key":         {put("a/3", "n", 0), put("a/4", "n", first)},
			"delete, no such key": {put("a/3", "n", 0), {Key: "a/4", Expect: first}},
		} {
			if _, err := s.Swap(t.Context(), o, changes); !errors.Is(err, ledger.ErrConflict) {
				t.Errorf("%s: %v, want a conflict", name, err)
			}
		}
		if got := keys(t, s, "a/"); !slices.Equal(got, []string{"a/1=x", "a/2=y"}) {
			t.Fatalf("after conflicts: %v", got)
		}
		second := mustSwap(t, s, o, put("a/1", "x2", first), ledger.Change{Key: "a/2", Expect: ledger.AnyRevision}, put("c", "", ledger.AnyRevision))
		if second <= first {
			t.Fatalf("revision %d after %d", second, first)
		}
		if got := keys(t, s, ""); !slices.Equal(got, []string{"a/1=x2", "b=z", "c="}) {
			t.Fatalf("after the second swap: %v", got)
		}
		entries, err := s.Read(t.Context(), "a/1")
		if err != nil || len(entries) != 1 || entries[0].Revision != second {
			t.Fatalf("read %v, %v; want revision %d", entries, err, second)
		}
	})
}

func TestOneManagerAtATimeWrites(t *testing.T) {
	both(t, func(t *testing.T, first, second ledger.Store, expire func(ledger.Office)) {
		if active, err := active(t, first); err != nil || active != "" {
			t.Fatalf("active before anybody: %q, %v", active, err)
		}
		old := campaign(t, first, "m1")
		if err := first.Confirm(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		won := make(chan ledger.Office, 1)
		go func() {
			o, err := second.Campaign(t.Context(), "m2")
			if err != nil {
				t.Error(err)
			}
			won <- o
		}()
		select {
		case <-won:
			t.Fatal("two managers are active")
		case <-time.After(200 * time.Millisecond):
		}
		revision := mustSwap(t, first, old, put("k", "old", 0))
		expire(old)
		var next ledger.Office
		select {
		case next = <-won:
		case <-time.After(10 * time.Second):
			t.Fatal("nobody took over")
		}
		if err := first.Confirm(t.Context(), old); !errors.Is(err, ledger.ErrNotActive) {
			t.Errorf("the old office is confirmed: %v", err)
		}
		if _, err := first.Swap(t.Context(), old, []ledger.Change{put("k", "late", revision)}); !errors.Is(err, ledger.ErrNotActive) {
			t.Errorf("the old manager writes: %v", err)
		}
		mustSwap(t, second, next, put("k", "new", revision))
		if got := keys(t, second, ""); !slices.Equal(got, []string{"k=new"}) {
			t.Errorf("kept %v", got)
		}
		if active, err := active(t, first); err != nil || active != "m2" {
			t.Errorf("active: %q, %v", active, err)
		}
	})
}

func TestResigningFreesTheOffice(t *testing.T) {
	both(t, func(t *testing.T, first, second ledger.Store, _ func(ledger.Office)) {
		o := campaign(t, first, "m1")
		if err := first.Resign(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if err := first.Confirm(t.Context(), o); !errors.Is(err, ledger.ErrNotActive) {
			t.Errorf("confirmed after resigning: %v", err)
		}
		began := time.Now()
		campaign(t, second, "m2")
		if waited := time.Since(began); waited > time.Second {
			t.Errorf("the next manager waited %v", waited)
		}
	})
}

func TestCampaignEndsWithItsContext(t *testing.T) {
	both(t, func(t *testing.T, first, second ledger.Store, _ func(ledger.Office)) {
		o := campaign(t, first, "m1")
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := second.Campaign(ctx, "m2"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("campaign: %v", err)
		}
		if err := first.Resign(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if active, err := active(t, first); err != nil || active != "" {
			t.Fatalf("who gave up is active: %q, %v", active, err)
		}
	})
}

func TestAManagerThatIsGoneIsReplaced(t *testing.T) {
	t.Parallel()
	etcd := startEtcd(t)
	gone, next := open(t, etcd, ""), open(t, etcd, "")
	campaign(t, gone, "m1")
	if err := gone.client.Close(); err != nil { // as a crash: nothing is revoked
		t.Fatal(err)
	}
	campaign(t, next, "m2")
}

func TestEverythingIsThereAfterARestartOfEtcd(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	etcd, err := StartEmbedded(t.Context(), dir, log)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, etcd, "")
	mustSwap(t, s, campaign(t, s, "m1"), put("k", "v", 0))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	etcd.Close()
	if etcd, err = StartEmbedded(t.Context(), dir, log); err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	s = open(t, etcd, "")
	if got := keys(t, s, ""); !slices.Equal(got, []string{"k=v"}) {
		t.Fatalf("kept %v", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
