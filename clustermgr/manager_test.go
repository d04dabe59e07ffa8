package clustermgr

import (
	"context"
	"errors"
	"flag"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func TestMain(m *testing.M) {
	// They wait most of the time, so that more of them fit on a processor.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func TestAGroupIsSpreadOverZonesAndLedUnderALease(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "a", "b", "c")
	g := c.createGroup(3)
	if !slices.Contains(g.GetVoters(), 3) || !slices.Contains(g.GetVoters(), 4) || len(g.GetVoters()) != 3 {
		t.Fatalf("voters %v do not spread over zones a, b and c", g.GetVoters())
	}
	c.awaitLeader(g.GetGroup(), 0)
	leases, err := c.client().ListLeases(c.context(), &wirepb.ListLeasesRequest{})
	if err != nil || len(leases.GetLeases()) != 1 || leases.GetLeases()[0].GetLeftMs() == 0 || leases.GetLeases()[0].GetReason() != "" {
		t.Fatalf("leases %v, %v", leases, err)
	}
	// Renewals go on, and the addresses of all nodes arrive everywhere.
	n := c.byID(g.GetLeader())
	unlock := n.lock()
	before := n.grants
	unlock()
	c.eventually("the lease is renewed", func() bool { defer n.lock()(); return n.grants > before+3 })
	c.eventually("peers' addresses arrive", func() bool { defer n.lock()(); return n.peers == 4 })
}

func TestAVolumeIsMadeOnceUnderOneName(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	q := &wirepb.CreateVolumeRequest{Name: "pg", Format: uint32(pinetree.FormatOpaque)}
	v, err := c.client().CreateVolume(c.context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if v.GetLeader() == 0 {
		t.Fatalf("volume without a leader: %v", v)
	}
	n := c.byID(v.GetLeader())
	unlock := n.lock()
	format := n.replicas[v.GetGroup()].volumes[v.GetVolume()]
	unlock()
	if format != uint32(pinetree.FormatOpaque) {
		t.Fatalf("the leader has the volume with format %d", format)
	}
	again, err := c.client().CreateVolume(c.context(), q)
	if err != nil || again.GetVolume() != v.GetVolume() {
		t.Fatalf("again: %v, %v; want volume %d", again, err, v.GetVolume())
	}
	other := &wirepb.CreateVolumeRequest{Name: "pg", Format: uint32(pinetree.FormatRedo)}
	if _, err := c.client().CreateVolume(c.context(), other); !errors.Is(err, pinetree.ErrExists) {
		t.Fatalf("the same name with another format: %v", err)
	}
	small, err := c.client().CreateVolume(c.context(), &wirepb.CreateVolumeRequest{Name: "small", Format: 2, Group: v.GetGroup()})
	if err != nil || small.GetGroup() != v.GetGroup() || small.GetVolume() == v.GetVolume() {
		t.Fatalf("a second volume in the group: %v, %v", small, err)
	}
	for _, bad := range []*wirepb.CreateVolumeRequest{{Name: "", Format: 1}, {Name: "a\nb", Format: 1}, {Name: "x", Format: 9}} {
		if _, err := c.client().CreateVolume(c.context(), bad); !errors.Is(err, pinetree.ErrBadBatch) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if _, err := c.client().CreateVolume(c.context(), &wirepb.CreateVolumeRequest{Name: "x", Format: 1, Group: 99}); !errors.Is(err, pinetree.ErrUnknownGroup) {
		t.Errorf("in an unknown group: %v", err)
	}
	c.eventually("the route tells all", func() bool {
		route, err := c.client().Route(c.context(), &wirepb.RouteRequest{VolumeName: "pg"})
		return err == nil && route.GetLeader() == v.GetLeader() && len(route.GetReplicas()) == 3 &&
			route.GetVolume().GetCommittedLsn() == 77 && route.GetReplicas()[0].GetAddress() != "" && c.routed(route)
	})
	c.nodes[1].kill()
	c.eventually("the route tells that a node does not serve", func() bool {
		route, err := c.client().Route(c.context(), &wirepb.RouteRequest{VolumeName: "pg"})
		return err == nil && len(route.GetStates()) == 3 && !c.routed(route)
	})
	if _, err := c.client().Route(c.context(), &wirepb.RouteRequest{VolumeName: "none"}); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Errorf("route of an unknown volume: %v", err)
	}
}

// routed tells that a route says of every replica that it serves, and of the
// leader, the only one to which the fakes give a volume, that it is up to date.
func (c *cluster) routed(route *wirepb.RouteResponse) bool {
	for i, s := range route.GetStates() {
		if !s.GetServes() || s.GetNode() != route.GetReplicas()[i].GetNode() {
			return false
		}
	}
	s := route.GetStates()
	return len(s) == 3 && s[0].GetBehindMs() == 0 && s[0].GetAppliedLsn() == 77 && s[0].GetAgeMs() < 60_000
}

func TestTooFewNodesIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a")
	_, err := c.client().CreateVolume(c.context(), &wirepb.CreateVolumeRequest{Name: "v", Format: 1})
	if err == nil || !strings.Contains(err.Error(), "3 replicas need as many, and there are 1; start more nodes") {
		t.Fatalf("three replicas on one node: %v", err)
	}
	if v, err := c.client().CreateVolume(c.context(), &wirepb.CreateVolumeRequest{Name: "v", Format: 1, Replicas: 1}); err != nil || v.GetLeader() != 1 {
		t.Fatalf("one replica on one node: %v, %v", v, err)
	}
}

func TestARefusedConnectionFailsOverAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	g := c.createGroup(3)
	began := time.Now()
	c.byID(g.GetLeader()).kill()
	next := c.awaitLeader(g.GetGroup(), g.GetLeader())
	if gap := time.Since(began); gap > 1400*time.Millisecond { // the old lease, and an election
		t.Errorf("the group was without a leased leader for %v", gap)
	}
	if !c.tells("node_dead", "refuses connections") || !c.tells("appointed", "is dead") {
		t.Errorf("events do not say why: %q", c.events())
	}
	if next.GetAppointment() <= g.GetAppointment() || next.GetRaftTerm() <= g.GetRaftTerm() {
		t.Errorf("appointment %d after %d, raft term %d after %d", next.GetAppointment(), g.GetAppointment(), next.GetRaftTerm(), g.GetRaftTerm())
	}
	// It comes back as a follower, and nothing moves.
	c.byID(g.GetLeader()).start()
	c.eventually("the node is alive again", func() bool { return c.happened("node_alive") })
	time.Sleep(300 * time.Millisecond)
	if now := c.group(g.GetGroup()); now.GetAppointment() != next.GetAppointment() {
		t.Errorf("appointment %d became %d for no reason: %q", next.GetAppointment(), now.GetAppointment(), c.events())
	}
}

func TestASilentNodeIsFirstWaitedForThenReplaced(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	g := c.createGroup(3)
	n := c.byID(g.GetLeader())
	freeze := func(frozen bool) { defer n.lock()(); n.frozen = frozen }
	freeze(true)
	time.Sleep(800 * time.Millisecond)
	if now := c.group(g.GetGroup()); now.GetAppointment() != g.GetAppointment() {
		t.Fatalf("replaced after 0.8 s of silence: %s", now.GetReason())
	}
	freeze(false) // a pause shorter than the threshold costs nothing
	c.eventually("it holds the lease again", func() bool { return c.holds(g.GetLeader(), g.GetGroup()) })
	if now := c.group(g.GetGroup()); now.GetAppointment() != g.GetAppointment() {
		t.Fatalf("a new appointment after a short pause: %q", c.events())
	}
	freeze(true)
	c.awaitLeader(g.GetGroup(), g.GetLeader())
	freeze(false)
	if !c.tells("node_dead", "last heard of") {
		t.Errorf("events do not say why: %q", c.events())
	}
}

func TestASickLeaderGoes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fall  func(*fakeNode)
		words string
	}{
		"disk":   {func(n *fakeNode) { n.hang = 3 * time.Second }, "has not finished an fsync"},
		"quorum": {func(n *fakeNode) { n.cutOff = true }, "has not heard from a quorum"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
			g := c.createGroup(3)
			n := c.byID(g.GetLeader())
			unlock := n.lock()
			tc.fall(n)
			unlock()
			c.awaitLeader(g.GetGroup(), g.GetLeader())
			if !c.tells("appointed", tc.words) {
				t.Errorf("events do not say why: %q", c.events())
			}
		})
	}
}

func TestALeaderNobodyAskedForIsAdopted(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	g := c.createGroup(3)
	other := g.GetVoters()[0]
	if other == g.GetLeader() {
		other = g.GetVoters()[1]
	}
	n := c.byID(other)
	unlock := n.lock()
	if err := n.elect(g.GetGroup()); err != nil {
		t.Fatal(err)
	}
	unlock()
	next := c.awaitLeader(g.GetGroup(), g.GetLeader())
	if next.GetLeader() != other || !c.tells("unexpected_leader") {
		t.Fatalf("node %d leads, want %d; %q", next.GetLeader(), other, c.events())
	}
}

func TestAWipedNodeIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	n := c.nodes[1]
	register := func(q *wirepb.RegisterRequest) error {
		_, err := c.client().Register(c.context(), q)
		return err
	}
	unlock := n.lock()
	id, instance, cluster := uint64(n.id), n.instance, n.cluster
	unlock()
	if err := register(&wirepb.RegisterRequest{Cluster: cluster, Node: id, Instance: "other", Address: "x:1"}); !errors.Is(err, pinetree.ErrExists) ||
		!strings.Contains(err.Error(), "starts with an empty one and gets a new id") {
		t.Errorf("another directory under the id: %v", err)
	}
	if err := register(&wirepb.RegisterRequest{Cluster: cluster, Node: 99, Instance: "other", Address: "x:1"}); !errors.Is(err, pinetree.ErrNotFound) {
		t.Errorf("an id that was never given: %v", err)
	}
	if err := register(&wirepb.RegisterRequest{Cluster: "elsewhere", Node: id, Instance: instance, Address: "x:1"}); !errors.Is(err, pinetree.ErrBadBatch) {
		t.Errorf("another cluster: %v", err)
	}
	conn, err := n.dial(c.addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := wirepb.NewManagerClient(conn).Heartbeat(c.context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&wirepb.HeartbeatRequest{Node: id, Instance: "other", Sequence: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, pinetree.ErrExists) {
		t.Errorf("heartbeats of another directory: %v", err)
	}
	// The same new directory, registered twice, is one node.
	first, err := c.client().Register(c.context(), &wirepb.RegisterRequest{Instance: "new", Address: "x:1"})
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.client().Register(c.context(), &wirepb.RegisterRequest{Instance: "new", Address: "x:2"})
	if err != nil || second.GetNode() != first.GetNode() || first.GetNode() != 4 {
		t.Fatalf("nodes %v and %v, %v; want 4 twice", first, second, err)
	}
}

func TestCreationGoesOnWhenTheCallerGoesAway(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	for _, n := range c.nodes {
		unlock := n.lock()
		n.frozen = true
		unlock()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := c.client().CreateVolume(ctx, &wirepb.CreateVolumeRequest{Name: "v", Format: 1})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("frozen nodes: %v", err)
	}
	for _, n := range c.nodes {
		unlock := n.lock()
		n.frozen = false
		unlock()
	}
	v, err := c.client().CreateVolume(c.context(), &wirepb.CreateVolumeRequest{Name: "v", Format: 1})
	if err != nil || v.GetVolume() != 1 || v.GetGroup() != 1 {
		t.Fatalf("the same volume later: %v, %v", v, err)
	}
}
