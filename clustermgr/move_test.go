package clustermgr

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func TestAPlannedMoveDoesNotWaitForTheOldLease(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	g := c.createGroup(3)
	c.awaitLeader(g.GetGroup(), 0)
	plan, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: g.GetGroup(), DryRun: true})
	if err != nil || plan.GetMoved() || plan.GetFrom() != g.GetLeader() || plan.GetTo() == 0 ||
		!strings.Contains(plan.GetReason(), "would move") || plan.GetPredictedUs() != 150_000 || !strings.Contains(plan.GetReason(), "nothing is known") {
		t.Fatalf("dry run: %v, %v", plan, err)
	}
	if now := c.group(g.GetGroup()); now.GetAppointment() != g.GetAppointment() {
		t.Fatal("a dry run made an appointment")
	}
	began := time.Now()
	moved, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: g.GetGroup(), To: plan.GetTo()})
	if err != nil || !moved.GetMoved() {
		t.Fatalf("move: %v, %v", moved, err)
	}
	if took := time.Since(began); took > 400*time.Millisecond || moved.GetPauseUs() > 200_000 {
		t.Errorf("the move took %v, with a pause of %d us; a lease lasts 600 ms", took, moved.GetPauseUs())
	}
	back, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: g.GetGroup(), DryRun: true})
	if err != nil || back.GetPredictedUs() != moved.GetPauseUs() || !strings.Contains(back.GetReason(), "from the last move of all groups") {
		t.Errorf("after a pause of %d us, dry run: %v, %v", moved.GetPauseUs(), back, err)
	}
	if moved.GetTo() != plan.GetTo() || moved.GetAppointment() != g.GetAppointment()+1 || moved.GetRaftTerm() <= g.GetRaftTerm() {
		t.Errorf("moved %v, from %v", moved, g)
	}
	next := c.awaitLeader(g.GetGroup(), g.GetLeader())
	if next.GetLeader() != plan.GetTo() {
		t.Errorf("node %d leads, want %d; %q", next.GetLeader(), plan.GetTo(), c.events())
	}
	c.eventually("the move is in the book", func() bool {
		return c.happened("released") && c.happened("moved", "from release to activation")
	})
	if _, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: g.GetGroup(), To: next.GetLeader()}); !errors.Is(err, pinetree.ErrExists) {
		t.Errorf("to the leader itself: %v", err)
	}
	if _, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: g.GetGroup(), To: 99}); !errors.Is(err, pinetree.ErrBadBatch) {
		t.Errorf("to a node without a replica: %v", err)
	}
	if _, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: 99}); !errors.Is(err, pinetree.ErrUnknownGroup) {
		t.Errorf("of an unknown group: %v", err)
	}
}

// TestAMoveFollowsOnAnother has the first heartbeat of each new leader arrive after the
// order that it is from before of: moves wait for the next one.
func TestAMoveFollowsOnAnother(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	g := c.createGroup(3)
	c.awaitLeader(g.GetGroup(), 0)
	for i := range uint64(60) {
		to := g.GetVoters()[(i+1)%3]
		if to == g.GetLeader() && i == 0 {
			continue
		}
		next := c.byID(to)
		unlock := next.lock()
		next.late = 1
		unlock()
		moved, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: g.GetGroup(), To: to})
		if err != nil || !moved.GetMoved() {
			t.Fatalf("move %d, to node %d: %v, %v", i, to, moved, err)
		}
		plan, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: g.GetGroup(), DryRun: true})
		if err != nil || plan.GetFrom() != to {
			t.Fatalf("dry run after move %d: %v, %v", i, plan, err)
		}
	}
	if c.happened("unexpected_leader") {
		t.Errorf("a leader was adopted: %q", c.events())
	}
}

func TestAMoveThatFailsLeavesTheOldLeaderWithALease(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(leader *fakeNode){
		"refused before the release": func(n *fakeNode) { n.noMoves, n.lateNo = "node 2 lags 9 MiB", true },
		"released and not taken":     func(n *fakeNode) { n.deaf = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
			g := c.createGroup(3)
			c.awaitLeader(g.GetGroup(), 0)
			leader := c.byID(g.GetLeader())
			unlock := leader.lock()
			fail(leader)
			unlock()
			moved, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: g.GetGroup()})
			if err != nil || moved.GetMoved() || !strings.Contains(moved.GetReason(), "leads on") {
				t.Fatalf("move: %v, %v", moved, err)
			}
			after := c.awaitLeader(g.GetGroup(), 0)
			if after.GetLeader() != g.GetLeader() || after.GetRaftTerm() != g.GetRaftTerm() || after.GetAppointment() != g.GetAppointment()+2 {
				t.Fatalf("after the abort %v, before %v", after, g)
			}
			c.eventually("the abort is told", func() bool { return c.happened("move_aborted", "did not hand over") })
			if c.happened("unexpected_leader") {
				t.Errorf("events do not tell: %q", c.events())
			}
			// The next one may succeed.
			unlock = leader.lock()
			leader.noMoves, leader.deaf = "", false
			unlock()
			if moved, err = c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: g.GetGroup()}); err != nil || !moved.GetMoved() {
				t.Fatalf("the next move: %v, %v", moved, err)
			}
		})
	}
}

func TestALaggingTargetIsNotMovedTo(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	g := c.createGroup(3)
	leader := c.byID(g.GetLeader())
	unlock := leader.lock()
	leader.replicas[g.GetGroup()].index = 50_000
	unlock()
	var err error
	c.eventually("the lag is known", func() bool {
		_, err = c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: g.GetGroup(), DryRun: true})
		return err != nil && !strings.Contains(err.Error(), "not alive")
	})
	if !strings.Contains(err.Error(), "its log is 49999 entries behind") {
		t.Fatalf("move to a lagging replica: %v", err)
	}
	// Nor is it appointed when the leader is gone, by a quorum's answers.
	var other *fakeNode
	for _, id := range g.GetVoters() {
		if id != g.GetLeader() {
			other = c.byID(id)
		}
	}
	unlock = other.lock()
	other.replicas[g.GetGroup()].index = 49_000
	id := uint64(other.id)
	unlock()
	leader.kill()
	next := c.awaitLeader(g.GetGroup(), g.GetLeader())
	if next.GetLeader() != id || next.GetAppointment() != g.GetAppointment()+1 {
		t.Fatalf("node %d leads under appointment %d; node %d has the longer log: %q", next.GetLeader(), next.GetAppointment(), id, c.events())
	}
}

func TestAMoveThatIsRefusedChangesNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	g := c.createGroup(3)
	leader := c.byID(g.GetLeader())
	unlock := leader.lock()
	leader.noMoves = "node 2 does not answer this leader"
	unlock()
	if _, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: g.GetGroup(), DryRun: true}); err == nil || !strings.Contains(err.Error(), "does not answer this leader") {
		t.Errorf("dry run: %v", err)
	}
	moved, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: g.GetGroup()})
	if err != nil || moved.GetMoved() || !strings.Contains(moved.GetReason(), "does not answer this leader") {
		t.Errorf("move: %v, %v", moved, err)
	}
	if after := c.awaitLeader(g.GetGroup(), 0); after.GetAppointment() != g.GetAppointment() || after.GetLeader() != g.GetLeader() {
		t.Errorf("node %d leads under appointment %d, before it was %d under %d", after.GetLeader(), after.GetAppointment(), g.GetLeader(), g.GetAppointment())
	}
}

func TestATargetThatCatchesUpIsWaitedFor(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	g := c.createGroup(3)
	leader := c.byID(g.GetLeader())
	unlock := leader.lock()
	leader.replicas[g.GetGroup()].index = 50_000
	unlock()
	c.eventually("the manager knows of the lag", func() bool {
		_, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: g.GetGroup(), DryRun: true})
		return err != nil && strings.Contains(err.Error(), "49999 entries behind")
	})
	type answer struct {
		moved *wirepb.MoveLeaderResponse
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		moved, err := c.client().MoveLeader(c.context(), &wirepb.MoveLeaderRequest{Group: g.GetGroup()})
		answers <- answer{moved, err}
	}()
	select {
	case a := <-answers:
		t.Fatalf("a target that lags was not waited for: %v, %v", a.moved, a.err)
	case <-time.After(200 * time.Millisecond):
	}
	if now := c.group(g.GetGroup()); now.GetLeader() != g.GetLeader() || !now.GetLeased() {
		t.Errorf("the group is not served meanwhile: %v", now)
	}
	unlock = leader.lock()
	leader.lags = 3
	for _, n := range c.nodes {
		n.replicas[g.GetGroup()].index = 50_000
	}
	unlock()
	a := <-answers
	if a.err != nil || !a.moved.GetMoved() {
		t.Fatalf("moved: %v, %v", a.moved, a.err)
	}
	defer leader.lock()()
	if leader.lags != 0 {
		t.Errorf("the old leader was to say %d times more that the target lags", leader.lags)
	}
}
