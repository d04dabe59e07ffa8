package clustermgr

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/reign"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func TestAnyManagerAnswersAndTakesOver(t *testing.T) {
	t.Parallel()
	store := ledger.NewMemory()
	c := newCluster(t, store, "a", "b", "c")
	g := c.createGroup(3)
	second := c.manager(1)
	list, err := second.client.ListNodes(c.context(), &wirepb.ListNodesRequest{})
	if err != nil || len(list.GetNodes()) != 3 {
		t.Fatalf("nodes by the other manager: %v, %v", list, err)
	}
	v, err := second.client.CreateVolume(c.context(), &wirepb.CreateVolumeRequest{Name: "v", Format: 1, Group: g.GetGroup()})
	if err != nil || v.GetGroup() != g.GetGroup() {
		t.Fatalf("volume by the other manager: %v, %v", v, err)
	}
	if _, err := second.client.Route(c.context(), &wirepb.RouteRequest{VolumeName: "w"}); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Fatalf("an error by the other manager: %v", err)
	}
	// Events are followed there, too.
	following, err := second.client.WatchEvents(c.context(), &wirepb.ListEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := following.Recv(); err != nil || first.GetKind() != "manager_active" {
		t.Fatalf("the first event by the other manager: %v, %v", first, err)
	}
	// Nodes are told where to go.
	var refusal *pinetree.NotLeaderError
	_, err = second.client.Register(c.context(), &wirepb.RegisterRequest{Instance: "i", Address: "127.0.0.1:1"})
	if !errors.As(err, &refusal) || refusal.Addr != c.addresses[0] || !strings.Contains(err.Error(), "not the active one; ask "+c.addresses[0]) {
		t.Fatalf("register with the other manager: %v", err)
	}
	// The first one loses its office behind its back. Whom a client asks does not
	// matter, before, meanwhile and after.
	store.Expire()
	for i := range 20 {
		if _, err := c.managers[i%2].client.ListNodes(c.context(), &wirepb.ListNodesRequest{}); err != nil {
			t.Fatalf("by manager %d while the office changes hands: %v", i%2, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.eventually("the first one sends nodes to the second", func() bool {
		_, err := c.managers[0].client.Register(c.context(), &wirepb.RegisterRequest{Instance: "i", Address: "127.0.0.1:1", Node: 1})
		return errors.As(err, &refusal) && refusal.Addr == c.addresses[1]
	})
	now := c.awaitLeader(g.GetGroup(), 0)
	if now.GetLeader() != g.GetLeader() || now.GetAppointment() != g.GetAppointment() {
		t.Fatalf("after the change of managers %v, before %v; %q", now, g, c.events())
	}
}

// takenOffice is a store whose office a manager holds that does not run.
func takenOffice(t *testing.T) *ledger.Memory {
	t.Helper()
	store := ledger.NewMemory()
	if _, err := store.Campaign(t.Context(), "127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	return store
}

// slowBook is a store that takes its time to tell what it holds.
type slowBook struct{ *ledger.Memory }

func (s slowBook) Read(ctx context.Context, prefix string) ([]ledger.Entry, error) {
	time.Sleep(100 * time.Millisecond)
	return s.Memory.Read(ctx, prefix)
}

func TestACallWaitsForTheNextActiveManager(t *testing.T) {
	t.Parallel()
	store := slowBook{takenOffice(t)}
	c := newIdleCluster(t, store, func(*cluster, int, *Config) {})
	answered := make(chan error, 1)
	go func() {
		_, err := c.managers[0].client.ListNodes(c.context(), &wirepb.ListNodesRequest{})
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("answered without an active manager: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	store.Expire()
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
}

// counted counts the calls that a server gets.
type counted struct {
	stats.Handler
	calls atomic.Int64
}

func (c *counted) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	c.calls.Add(1)
	return ctx
}
func (c *counted) HandleRPC(context.Context, stats.RPCStats)                         {}
func (c *counted) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (c *counted) HandleConn(context.Context, stats.ConnStats)                       {}

// believing is a store that names a manager of its own choice as the active one.
type believing struct {
	ledger.Store
	active string
}

func (b believing) Watch(ctx context.Context, tell func(string)) error {
	tell(b.active)
	<-ctx.Done()
	return nil
}

// TestManagersThatBelieveInEachOtherGiveUp: each sends a call on at its own pace,
// and none sends on what another one has sent.
func TestManagersThatBelieveInEachOtherGiveUp(t *testing.T) {
	t.Parallel()
	store := takenOffice(t)
	var calls counted
	c := newIdleCluster(t, store, func(c *cluster, i int, cfg *Config) {
		cfg.Store = believing{store, c.addresses[1-i]}
		cfg.AwaitActive = 400 * time.Millisecond
		cfg.Serve = []grpc.ServerOption{grpc.StatsHandler(&calls)}
	})
	c.manager(1)
	began := time.Now()
	_, err := c.managers[0].client.CreateGroup(c.context(), &wirepb.CreateGroupRequest{})
	if err == nil || !strings.Contains(err.Error(), "no active cluster manager within 400ms") || !strings.Contains(err.Error(), "not the active one") {
		t.Fatalf("the call ended with %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	// The one of the test, and one each relayPause.
	if n := calls.calls.Load(); n < 3 || n > 12 {
		t.Errorf("%d calls were made", n)
	}
}

func TestACallOfTheDeadManagerIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	c := newIdleCluster(t, takenOffice(t), func(_ *cluster, _ int, cfg *Config) { cfg.AwaitActive = 300 * time.Millisecond })
	_, err := c.managers[0].client.ListNodes(c.context(), &wirepb.ListNodesRequest{})
	if err == nil || !wirepb.Unreachable(err) || !strings.Contains(err.Error(), "the active cluster manager at 127.0.0.1:1 does not answer") {
		t.Errorf("refused with %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.managers[0].client.ListNodes(ctx, &wirepb.ListNodesRequest{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a short deadline: %v", err)
	}
}

func TestACallThatTheOfficeWasLostUnderIsMadeAgain(t *testing.T) {
	t.Parallel()
	c := newIdleCluster(t, ledger.NewMemory(), func(*cluster, int, *Config) {})
	if _, err := c.client().ListNodes(c.context(), &wirepb.ListNodesRequest{}); err != nil {
		t.Fatal(err)
	}
	calls := 0
	err := c.managers[0].manager.answer(c.context(), attempt{again: notBegun, here: func(*reign.Reign) error {
		if calls++; calls == 1 {
			return reign.NotActive("") // it had not begun
		}
		return nil
	}})
	if err != nil || calls != 2 {
		t.Fatalf("%d calls, %v", calls, err)
	}
}

func TestACallWaitsUntilTheOfficeIsTaken(t *testing.T) {
	t.Parallel()
	c := newIdleCluster(t, slowBook{ledger.NewMemory()}, func(c *cluster, i int, cfg *Config) {
		cfg.Store = believing{cfg.Store, c.addresses[i]}
		cfg.AwaitActive = 2 * time.Second
	})
	if _, err := c.client().ListNodes(c.context(), &wirepb.ListNodesRequest{}); err != nil {
		t.Fatal(err)
	}
}
