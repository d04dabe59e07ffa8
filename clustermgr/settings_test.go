package clustermgr

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/clustermgr/accord"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// serves runs a manager of the cluster's store beside the others until it ends by
// itself, and returns its error.
func (c *cluster) serves(cfg Config) error {
	c.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	cfg.Store, cfg.Address = c.store, listener.Addr().String()
	cfg.OfficeClaim, cfg.OfficeConfirm = 400*time.Millisecond, 50*time.Millisecond
	m, err := New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	err = m.Serve(ctx, listener)
	if ctx.Err() != nil {
		c.t.Fatalf("a manager with other settings serves on; %v", err)
	}
	return err
}

// TestAManagerWithOtherSettingsEndsAndSaysWhy: a manager that waited too short for
// the leases that another one has granted would appoint two holders of one lease.
func TestAManagerWithOtherSettingsEndsAndSaysWhy(t *testing.T) {
	t.Parallel()
	c := newTunedCluster(t, ledger.NewMemory(), func(_ int, cfg *Config) { cfg.Lease.Duration = 700 * time.Millisecond }, "a", "b", "c")
	g := c.createGroup(3)
	refused := (*accord.RefusedError)(nil)
	if err := c.serves(Config{}); !errors.As(err, &refused) || !strings.Contains(err.Error(), "a lease is 700ms in the cluster, and 600ms here") {
		t.Fatalf("a standby with shorter leases: %v", err)
	}
	c.awaitLeader(g.GetGroup(), 0)

	// One that is to change them takes part, and when it has, the others do not.
	c.tune = func(_ int, cfg *Config) { cfg.NewSettings = true }
	c.manager(1)
	c.managers[0].end()
	c.eventually("the new settings hold", func() bool { return c.tells("settings_changed", "--new-settings") })
	long := Config{}
	long.Lease.Duration = 700 * time.Millisecond
	if err := c.serves(long); !errors.As(err, &refused) || !strings.Contains(err.Error(), "a lease is 600ms in the cluster, and 700ms here") {
		t.Errorf("a manager with the old settings: %v", err)
	}
	c.eventually("what was granted before counts no more", func() bool { return c.happened("settings_settled") })
	leases, err := c.client().ListLeases(c.context(), &wirepb.ListLeasesRequest{})
	if err != nil || len(leases.GetLeases()) != 1 {
		t.Errorf("%v, %v", leases, err)
	}
}
