package clustermgr

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/clustermgr/etcdstore"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func TestARestartedManagerKeepsItsLeaders(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	g := c.createGroup(3)
	v, err := c.client().CreateVolume(c.context(), &wirepb.CreateVolumeRequest{Name: "v", Format: 1, Group: g.GetGroup()})
	if err != nil {
		t.Fatal(err)
	}
	c.managers[0].end()
	c.eventually("the lease lapses", func() bool { return !c.holds(g.GetLeader(), g.GetGroup()) })
	c.manager(0)
	began := time.Now()
	now := c.awaitLeader(g.GetGroup(), 0)
	if now.GetLeader() != g.GetLeader() || now.GetAppointment() != g.GetAppointment() || now.GetRaftTerm() != g.GetRaftTerm() {
		t.Fatalf("after the restart %v, before %v; %q", now, g, c.events())
	}
	if took := time.Since(began); took > 600*time.Millisecond {
		t.Errorf("the holder itself waited %v for its lease", took)
	}
	if again, err := c.client().CreateVolume(c.context(), &wirepb.CreateVolumeRequest{Name: "v", Format: 1}); err != nil || again.GetVolume() != v.GetVolume() {
		t.Errorf("the volume after the restart: %v, %v", again, err)
	}
	if next := c.createGroup(1); next.GetGroup() != g.GetGroup()+1 {
		t.Errorf("group %d after %d", next.GetGroup(), g.GetGroup())
	}
}

func TestANewManagerWaitsBeforeItActivatesAnybodyElse(t *testing.T) {
	t.Parallel()
	store := ledger.NewMemory()
	c := newCluster(t, store, "a", "b", "c")
	g := c.createGroup(3)
	c.awaitLeader(g.GetGroup(), 0)
	c.byID(g.GetLeader()).kill()
	c.managers[0].end()
	began := time.Now()
	c.manager(1)
	c.awaitLeader(g.GetGroup(), g.GetLeader())
	// The claim of the manager before, and one lease, both with their drift.
	if wait := time.Since(began); wait < 1010*time.Millisecond {
		t.Fatalf("another leader was activated %v after the new manager started", wait)
	}
}

// lossyStore makes changes and does not say so, or does not answer at all.
type lossyStore struct {
	*ledger.Memory
	lose atomic.Int32 // answers of Swap to lose, after the change
	down atomic.Bool
}

var errDown = errors.New("the store is down")

func (s *lossyStore) Swap(ctx context.Context, o ledger.Office, changes []ledger.Change) (int64, error) {
	if s.down.Load() {
		return 0, errDown
	}
	revision, err := s.Memory.Swap(ctx, o, changes)
	if err == nil && s.lose.Add(-1) >= 0 {
		return 0, errDown
	}
	return revision, err
}

func (s *lossyStore) Confirm(ctx context.Context, o ledger.Office) error {
	if s.down.Load() {
		return errDown
	}
	return s.Memory.Confirm(ctx, o)
}

func TestALostAnswerOfTheStoreLosesNothing(t *testing.T) {
	t.Parallel()
	store := &lossyStore{Memory: ledger.NewMemory()}
	c := newCluster(t, store, "a", "b", "c")
	store.lose.Store(3)
	g := c.createGroup(3)
	c.awaitLeader(g.GetGroup(), 0)
	if n := g.GetGroup(); n != 1 {
		t.Fatalf("group %d was made", n)
	}
	if c.happened("manager_active", "1 groups") {
		t.Fatalf("the manager had to begin anew: %q", c.events())
	}
	if store.lose.Load() > 0 {
		t.Fatal("no answer was lost")
	}
}

func TestWithoutItsStoreAManagerGrantsNothingAndAnswers(t *testing.T) {
	t.Parallel()
	store := &lossyStore{Memory: ledger.NewMemory()}
	c := newCluster(t, store, "a", "b", "c")
	g := c.createGroup(3)
	c.awaitLeader(g.GetGroup(), 0)
	store.down.Store(true)
	c.eventually("the lease lapses", func() bool { return !c.holds(g.GetLeader(), g.GetGroup()) })
	if now := c.group(g.GetGroup()); now.GetLeader() != g.GetLeader() || !strings.Contains(now.GetReason(), "does not confirm its office") {
		t.Errorf("without the store: %v", now)
	}
	store.down.Store(false)
	if now := c.awaitLeader(g.GetGroup(), 0); now.GetAppointment() != g.GetAppointment() {
		t.Errorf("appointment %d became %d", g.GetAppointment(), now.GetAppointment())
	}
}

func TestTwoManagersOverEtcd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	etcd, err := etcdstore.StartEmbedded(ctx, t.TempDir(), slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	store, err := etcdstore.Open(etcdstore.Config{Endpoints: etcd.Endpoints, SessionTTL: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	c := newCluster(t, store, "a", "b", "c")
	v, err := c.client().CreateVolume(c.context(), &wirepb.CreateVolumeRequest{Name: "pg", Format: 1})
	if err != nil {
		t.Fatal(err)
	}
	c.byID(v.GetLeader()).kill()
	g := c.awaitLeader(v.GetGroup(), v.GetLeader())
	moved, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: v.GetGroup()})
	if err != nil || !moved.GetMoved() || moved.GetPauseUs() > 200_000 {
		t.Fatalf("move: %v, %v", moved, err)
	}
	g = c.awaitLeader(v.GetGroup(), g.GetLeader())
	c.manager(1)
	c.managers[0].end()
	c.eventually("the second one is active", func() bool {
		_, err := c.client().ListNodes(c.context(), &wirepb.ListNodesRequest{})
		return err == nil
	})
	now := c.awaitLeader(v.GetGroup(), 0)
	if now.GetLeader() != g.GetLeader() || now.GetAppointment() != g.GetAppointment() {
		t.Fatalf("after the change of managers %v, before %v; %q", now, g, c.events())
	}
}

func TestAppointmentsRiseAboveWhatNodesHaveHeardOf(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	g := c.createGroup(3)
	for _, id := range g.GetVoters() { // as after the managers' store was restored from a backup
		n := c.byID(id)
		unlock := n.lock()
		r := n.replicas[g.GetGroup()]
		if err := r.holder.Appoint(50); err != nil {
			t.Error(err)
		}
		r.holder.Release(50)
		r.leads = 0
		unlock()
	}
	if now := c.awaitLeader(g.GetGroup(), 0); now.GetAppointment() <= 50 {
		t.Fatalf("appointment %d", now.GetAppointment())
	}
}
